//! The machine that was measured, as far as it tells.

use evenkeel_runtime::cache::{self, caches};
use serde::{Deserialize, Serialize};

/// A description of a machine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Machine {
    /// Name of the processor; its architecture where the system does not tell.
    pub processor: String,
    /// Operating system and architecture.
    pub system: String,
    /// Cores that this process may use.
    pub cores: usize,
    /// Extensions of the instruction set that matter for speed.
    pub features: Vec<String>,
    /// Data caches as seen by one core, smallest first; empty where the system does not tell.
    pub caches: Vec<Cache>,
}

/// A data cache.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cache {
    /// 1, 2 or 3.
    pub level: u32,
    /// Its size.
    pub bytes: u64,
    /// Cores of this machine that share it.
    pub shared_by: u64,
}

impl From<cache::Cache> for Cache {
    fn from(cache: cache::Cache) -> Cache {
        let cache::Cache { level, bytes, shared_by } = cache;
        Cache { level, bytes, shared_by }
    }
}

impl Machine {
    /// This machine.
    pub fn detect() -> Machine {
        Machine {
            processor: processor().unwrap_or_else(|| std::env::consts::ARCH.into()),
            system: format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            features: features(),
            caches: caches().into_iter().map(Cache::from).collect(),
        }
    }

    /// The cache of a level.
    pub fn cache(&self, level: u32) -> Option<&Cache> {
        self.caches.iter().find(|cache| cache.level == level)
    }
}

/// Linux tells in a file; other systems have no file for it.
fn processor() -> Option<String> {
    let text = std::fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = text.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_string())
}

#[cfg(target_arch = "x86_64")]
fn features() -> Vec<String> {
    let found = [
        ("sse4.2", std::is_x86_feature_detected!("sse4.2")),
        ("avx", std::is_x86_feature_detected!("avx")),
        ("avx2", std::is_x86_feature_detected!("avx2")),
        ("fma", std::is_x86_feature_detected!("fma")),
        ("avx512f", std::is_x86_feature_detected!("avx512f")),
        ("avx512bf16", std::is_x86_feature_detected!("avx512bf16")),
        ("avx512vnni", std::is_x86_feature_detected!("avx512vnni")),
        ("avx512fp16", std::is_x86_feature_detected!("avx512fp16")),
    ];
    found.into_iter().filter(|(_, there)| *there).map(|(name, _)| name.to_string()).collect()
}

#[cfg(not(target_arch = "x86_64"))]
fn features() -> Vec<String> {
    Vec::new()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_has_a_processor_with_cores() {
        let machine = Machine::detect();
        assert!(machine.cores >= 1 && !machine.processor.is_empty(), "{machine:?}");
    }
}
