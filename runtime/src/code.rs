//! Executable memory: machine code of a program, mapped, copied, protected, freed on drop.
//!
//! Invariant: a page is writable or executable, never both.

use crate::error::RuntimeError;
use memmap2::{Mmap, MmapMut};

/// The signature of every kernel: argument block, first row, one past the last row, scratch.
pub type KernelFn = unsafe extern "C" fn(args: *const u64, begin: u64, end: u64, scratch: *mut u8);

const ALIGNMENT: usize = 64;

/// Loaded functions.
#[derive(Debug)]
pub struct CodeMap {
    map: Option<Mmap>,
    offsets: Vec<usize>,
}

impl CodeMap {
    /// Loads position-independent functions without relocations.
    ///
    /// # Errors
    /// The operating system refuses the memory or its protection.
    pub fn load<'a>(functions: impl IntoIterator<Item = &'a [u8]>) -> Result<CodeMap, RuntimeError> {
        let mut image: Vec<u8> = Vec::new();
        let mut offsets = Vec::new();
        for function in functions {
            image.resize(image.len().next_multiple_of(ALIGNMENT), 0xcc);
            offsets.push(image.len());
            image.extend_from_slice(function);
        }
        if image.is_empty() {
            return Ok(CodeMap { map: None, offsets });
        }
        let fail = |source| RuntimeError::Code { bytes: image.len(), source };
        let mut map = MmapMut::map_anon(image.len()).map_err(fail)?;
        map[..image.len()].copy_from_slice(&image);
        Ok(CodeMap { map: Some(map.make_exec().map_err(fail)?), offsets })
    }

    /// The entry of a loaded function. Calling it is unsafe: its buffers must be as the
    /// program states.
    ///
    /// # Panics
    /// When there is no such function.
    pub fn entry(&self, function: usize) -> KernelFn {
        let map = self.map.as_ref().expect("a function was loaded");
        let address = map[self.offsets[function]..].as_ptr();
        // SAFETY: the bytes at this address are a function of this signature, as every
        // kernel of a program is; the mapping is executable and lives as long as `self`.
        unsafe { std::mem::transmute::<*const u8, KernelFn>(address) }
    }
}

#[cfg(all(test, target_arch = "x86_64"))]
mod tests {
    use super::*;

    #[test]
    fn loaded_code_runs() {
        // mov rax,[rdi]; lea rcx,[rsi+rdx]; mov [rax],rcx; ret
        let sum: &[u8] = &[0x48, 0x8b, 0x07, 0x48, 0x8d, 0x0c, 0x16, 0x48, 0x89, 0x08, 0xc3];
        let code = CodeMap::load([&[0xc3u8][..], sum]).unwrap();
        let mut result = 0u64;
        let args = [&raw mut result as u64];
        // SAFETY: the function writes one u64 through its first argument.
        unsafe { code.entry(1)(args.as_ptr(), 40, 2, std::ptr::null_mut()) };
        assert_eq!(result, 42);
    }

    #[test]
    fn nothing_to_load_is_fine() {
        assert!(CodeMap::load([]).unwrap().offsets.is_empty());
    }
}
