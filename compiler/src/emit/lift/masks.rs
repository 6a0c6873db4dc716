//! Mask registers at 512 bits: which vector register each one equals.

use iced_x86::Register;

/// Mask registers in use; k0 cannot select.
const COUNT: usize = 7;

/// What the mask registers hold within a stretch of code without branches.
#[derive(Default)]
pub(super) struct Masks {
    vector_of: [Option<Register>; COUNT],
    next: usize,
}

impl Masks {
    /// The mask register that equals a vector register.
    pub(super) fn of(&self, vector: Register) -> Option<Register> {
        let place = self.vector_of.iter().position(|&v| v == Some(vector))?;
        Some(Register::K1 + place as u32)
    }

    /// A mask register that will equal a vector register.
    pub(super) fn hold(&mut self, vector: Register) -> Register {
        self.written(vector);
        let place = self.next;
        self.next = (place + 1) % COUNT;
        self.vector_of[place] = Some(vector);
        Register::K1 + place as u32
    }

    /// A vector register changes.
    pub(super) fn written(&mut self, vector: Register) {
        self.vector_of.iter_mut().filter(|v| **v == Some(vector)).for_each(|v| *v = None);
    }

    /// Code begins that is also reached from elsewhere.
    pub(super) fn forget(&mut self) {
        *self = Masks::default();
    }
}
