//! The x86-64 compiler.
//!
//! R0 to R10 live in machine registers all the time, so that most instructions
//! become one of the machine's. [`compile`] checks the program's structure and
//! gathers facts (`analysis`), emits code function by function (`compiler`
//! and its parts by kind of instruction) into a `buffer`, and lets `layout`
//! choose the lengths of jumps. The encoder under `x86` is a table of instruction
//! forms as in the processor's manual.
//!
//! Compiled code is entered through the [`trampoline`] only. While it runs, R12
//! holds the environment's address ([`RunEnv`](crate::env::RunEnv)); helpers get
//! it as their sixth argument.

mod alu;
mod analysis;
mod atomic;
mod buffer;
mod call;
mod compiler;
mod divide;
mod effect;
mod frame;
mod jump;
mod layout;
mod liveness;
mod lookup;
mod mem;
mod plan;
mod pool;
mod shift;
mod special;
mod value;
mod x86;

pub use frame::trampoline;

use crate::program::{MapTable, Program};
use alloc::vec::Vec;

/// What compiled code is to run on, and the addresses that it needs.
pub trait Target {
    /// Address of a helper's [`HelperFn`](crate::env::HelperFn) by helper number,
    /// or of a runtime function by the numbers of
    /// [`runtime_fn`](crate::env::runtime_fn).
    fn helper(&self, id: u32) -> Option<u64>;

    /// Instructions that the processor has beyond the first x86-64 ones.
    fn features(&self) -> Features {
        Features::default()
    }
}

/// Optional processor features (CPUID).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Features {
    /// BMI2: shifts by any register (leaf 7, EBX bit 8).
    pub bmi2: bool,
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
    /// No code is emitted for this instruction (index into the program): it is
    /// malformed, jumps or calls to where nothing begins, or names a map or helper
    /// that does not exist. Only programs that no verifier saw can be like that.
    Unsupported(u32),
    /// The code would exceed what displacements can span.
    TooLarge,
}

/// Compiles a program to run at address `base`, which should be a multiple of 64.
///
/// # Errors
/// [`JitError`]; whatever the program holds, it never panics.
pub fn compile(
    prog: &Program,
    maps: &dyn MapTable,
    target: &dyn Target,
    base: u64,
) -> Result<Code, JitError> {
    compiler::Compiler::new(prog, maps, target, base)?.run()
}
