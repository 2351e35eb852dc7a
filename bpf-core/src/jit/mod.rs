//! The x86-64 compiler.
use crate::program::{MapTable, Program};
use alloc::vec::Vec;

/// Addresses that compiled code needs.
pub trait Target {
    /// Address of a helper's [`HelperFn`](crate::env::HelperFn) by helper number.
    fn helper(&self, id: u32) -> Option<u64>;
}

/// Machine code of one program.
#[derive(Clone, Debug, Default)]
pub struct Code {
    /// The bytes, to be placed at the `base` given to [`compile`].
    pub bytes: Vec<u8>,
    /// Offset of each subprogram's entry.
    pub entries: Vec<u32>,
    /// Offset of each instruction's first byte, and the end as last element.
    pub insn_offsets: Vec<u32>,
    /// Offset at which a tail call into this program lands.
    pub tail_call_entry: u32,
}

/// Why a program could not be compiled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JitError {
    /// No code is emitted for this instruction (index into the program).
    Unsupported(u32),
    /// The code would exceed what displacements can span.
    TooLarge,
}

/// Compiles a program to run at address `base`.
pub fn compile(
    _prog: &Program,
    _maps: &dyn MapTable,
    _target: &dyn Target,
    _base: u64,
) -> Result<Code, JitError> {
    unimplemented!()
}
