//! Kernels as text, for `explain` and snapshots.

use super::{Access, Kernel, Source, StoreKind, Stride};
use std::fmt;

impl fmt::Display for Stride {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.scale, self.power) {
            (scale, 0) => write!(f, "{scale}"),
            (scale, 1) => write!(f, "{scale}N"),
            (scale, power) => write!(f, "{scale}N^{power}"),
        }
    }
}

impl Kernel {
    fn element(&self, access: &Access) -> String {
        let arg = &self.args[access.arg as usize];
        let moves = |(axis, stride): (usize, &Stride)| match *stride {
            Stride::ZERO => None,
            Stride { scale: 1, power: 0 } => Some(format!("i{axis}")),
            stride => Some(format!("{stride}*i{axis}")),
        };
        let mut terms: Vec<String> = access.strides.iter().enumerate().filter_map(moves).collect();
        if access.offset != Stride::ZERO {
            terms.push(access.offset.to_string());
        }
        if let Some(indirect) = &access.indirect {
            terms.push(format!("{}*%{} below {}", indirect.stride, indirect.register.0, indirect.limit));
        }
        format!("{}[{}]", arg.name, if terms.is_empty() { "0".into() } else { terms.join(" + ") })
    }
}

impl fmt::Display for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sizes =
            |extents: &[crate::Extent]| extents.iter().map(|e| e.to_string()).collect::<Vec<_>>().join(" x ");
        let (parallel, reduced) = self.space.split_at(self.parallel);
        writeln!(f, "kernel {}: rows {}, row {}", self.name, sizes(parallel), sizes(reduced))?;
        for (i, source) in self.sources.iter().enumerate() {
            match source {
                Source::Load(access) => writeln!(f, "  param {i}: {}", self.element(access))?,
                Source::Position { strides } => {
                    let text = strides.iter().map(|s| s.to_string()).collect::<Vec<_>>().join(", ");
                    writeln!(f, "  param {i}: position by {text}")?;
                }
                Source::Size(extent) => writeln!(f, "  param {i}: size {extent}")?,
                Source::Reduced(r) => {
                    let reduction = &self.reductions[*r as usize];
                    write!(f, "  param {i}: {} of %{}", reduction.op.name(), reduction.input.0)?;
                    if let Some(maximum) = reduction.follows {
                        let maximum = &self.reductions[maximum as usize];
                        write!(f, ", follows {} of %{}", maximum.op.name(), maximum.input.0)?;
                    }
                    writeln!(f)?;
                }
            }
        }
        let levels = self.levels();
        for (i, inst) in self.code.insts().iter().enumerate() {
            writeln!(f, "  phase {}: %{i} = {inst}", levels.phase[i])?;
        }
        for store in &self.stores {
            let how = match store.kind {
                StoreKind::Write => "=".to_string(),
                StoreKind::Accumulate(op) => format!("<- {} over rows of", op.name()),
                StoreKind::AddInPlace => "+=".to_string(),
            };
            writeln!(f, "  {} {how} %{}", self.element(&store.access), store.value.0)?;
        }
        Ok(())
    }
}
