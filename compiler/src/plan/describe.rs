//! Plans as text: what happens in which order, and where every value lives.

use super::Plan;
use crate::report::Arena;
use evenkeel_ir::Extent;
use evenkeel_ir::program::{BufferId, Launch, Panels, Part, Program, Step, Storage};
use std::fmt;

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Plan { program, .. } = self;
        for (place, step) in program.steps.iter().enumerate() {
            writeln!(f, "step {place}: {}", self.step(step))?;
        }
        for buffer in &program.buffers {
            let home = match buffer.storage {
                Storage::Input(place) => format!("input {}", program.inputs[place as usize].name),
                Storage::Output(place) => format!("output {}", program.outputs[place as usize].name),
                Storage::Arena { first, last } => format!("arena, steps {first} to {last}"),
            };
            let bytes = buffer.elements.times(Extent::fixed(buffer.dtype.size() as u64));
            writeln!(
                f,
                "buffer {}: {} {}, {bytes} bytes, {home}",
                buffer.name, buffer.elements, buffer.dtype
            )?;
        }
        writeln!(f, "{}", Arena::of(program))
    }
}

impl Plan {
    fn step(&self, step: &Step) -> String {
        let program = &self.program;
        match step {
            Step::Kernels(launches) => {
                let launches = launches.iter().map(|launch| self.launch(launch));
                format!("kernel {}", launches.collect::<Vec<_>>().join("; "))
            }
            Step::Product(panels) => {
                let Panels { prologue, product, epilogue } = &**panels;
                let [lhs, rhs, out] =
                    [product.lhs, product.rhs, product.out].map(|m| name(program, m.buffer));
                let before = prologue.as_ref().map(|launch| format!("{}, then ", self.launch(launch)));
                let after = epilogue.as_ref().map(|launch| format!(", then {}", self.launch(launch)));
                let (before, after) = (before.unwrap_or_default(), after.unwrap_or_default());
                format!("{before}product {}: {lhs} {rhs} -> {out}{after}", product.name)
            }
            Step::Combine(parts) => {
                let part =
                    |part: &Part| format!("{} -> {}", name(program, part.partials), name(program, part.out));
                format!("combine {}", parts.iter().map(part).collect::<Vec<_>>().join(", "))
            }
            Step::Copy { from, to } => format!("copy {} -> {}", name(program, *from), name(program, *to)),
            Step::Zero { buffer } => format!("fill {} with zeros", name(program, *buffer)),
        }
    }

    fn launch(&self, launch: &Launch) -> String {
        let kernel = &self.kernels[launch.code as usize].kernel;
        let buffers = launch.buffers.iter().map(|buffer| name(&self.program, *buffer));
        format!("{} on {}", kernel.name, buffers.collect::<Vec<_>>().join(", "))
    }
}

fn name(program: &Program, buffer: BufferId) -> &str {
    &program.buffers[buffer.0 as usize].name
}
