//! The reference interpreter: slow, obvious, and without `unsafe`.
//!
//! It runs a [`Program`] over a [`Runtime`], which supplies memory, maps and
//! helpers. Addresses are whatever the runtime says they are: real ones in the
//! guest, made-up ones in [`hosted`]. BPF-to-BPF calls are calls of the
//! interpreter itself; a function's registers are local to that call.
//!
//! ```
//! use bpf_core::{asm, interp::{self, hosted::Hosted}, program::Program};
//! let insns = asm::assemble("r0 = *(u16 *)(r1 +2)\n r0 = be16 r0\n exit").unwrap();
//! let prog = Program { insns, ..Program::default() };
//! let mut host = Hosted::new();
//! let mem = host.add_memory(vec![0, 0, 1, 2]);
//! assert_eq!(interp::run(&prog, [mem, 4], &mut host), Ok(0x102));
//! ```
pub mod alu;
mod exec;
pub mod hosted;
mod runtime;
mod trap;

use crate::program::Program;
pub use runtime::{Atomic, Callbacks, Observer, Runtime};
pub use trap::{Trap, TrapKind};

/// What a run may use, and who watches.
#[derive(Default)]
pub struct Options<'a> {
    /// Instructions to execute before the run ends with
    /// [`TrapKind::OutOfFuel`]; `None` is without limit.
    pub fuel: Option<u64>,
    /// Sees the registers before each instruction.
    pub observer: Option<&'a mut dyn Observer>,
}

/// Runs a program with these values in R1 and R2 and gives R0 at its end.
///
/// # Errors
/// A [`Trap`] where the program did what no verified program does, ran out of
/// fuel, or the runtime refused something.
pub fn run(prog: &Program, args: [u64; 2], rt: &mut dyn Runtime) -> Result<u64, Trap> {
    run_with(prog, args, rt, Options::default())
}

/// Like [`run`], with [`Options`].
///
/// # Errors
/// As [`run`].
pub fn run_with(
    prog: &Program,
    args: [u64; 2],
    rt: &mut dyn Runtime,
    options: Options<'_>,
) -> Result<u64, Trap> {
    let [r1, r2] = args;
    exec::Machine::new(options).function(rt, prog, 0, [r1, r2, 0, 0, 0], 0)
}
