//! How a run ends other than by `exit`.
use crate::insn::{DecodeError, Size};
use core::fmt;

/// What went wrong, and at which instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trap {
    /// What went wrong.
    pub kind: TrapKind,
    /// Index of the instruction in [`Program::insns`](crate::program::Program)
    /// of the program that was running then (a tail call may have changed it).
    /// A runtime leaves it `None`; the interpreter fills it in.
    pub insn: Option<u32>,
}

/// The kinds of [`Trap`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrapKind {
    /// The slot is not an instruction.
    Decode(DecodeError),
    /// Control left the program.
    OutOfProgram,
    /// The address may not be accessed so.
    Memory {
        /// The first byte.
        addr: u64,
        /// How many bytes.
        size: Size,
        /// A store or an atomic, not a load.
        write: bool,
    },
    /// More nested functions and callbacks than the stack has frames.
    CallDepth,
    /// The instruction budget is used up.
    OutOfFuel,
    /// No such helper in this runtime.
    Helper(u32),
    /// No such kernel function in this runtime.
    Kfunc(i32),
    /// No map with this handle.
    Map(u32),
    /// A 16-byte load of a kind that should be gone before a program runs.
    WideLoad,
    /// A helper called back something that is not a function of the program.
    Callback(u64),
    /// A helper refused its arguments in a way that a verified program cannot
    /// bring about.
    BadArgument {
        /// The helper.
        helper: u32,
        /// 1 for R1, and so on.
        argument: u8,
    },
}

impl From<TrapKind> for Trap {
    fn from(kind: TrapKind) -> Self {
        Trap { kind, insn: None }
    }
}

impl Trap {
    /// Names the instruction, unless an inner one is named already.
    pub(super) fn at(mut self, insn: u32) -> Self {
        self.insn.get_or_insert(insn);
        self
    }
}

impl fmt::Display for Trap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(insn) = self.insn {
            write!(f, "instruction {insn}: ")?;
        }
        match self.kind {
            TrapKind::Decode(e) => e.fmt(f),
            TrapKind::OutOfProgram => write!(f, "control left the program"),
            TrapKind::Memory { addr, size, write } => {
                let what = if write { "write" } else { "read" };
                write!(f, "bad {what} of {} bytes at {addr:#x}", size.bytes())
            }
            TrapKind::CallDepth => write!(f, "too many nested calls"),
            TrapKind::OutOfFuel => write!(f, "instruction budget used up"),
            TrapKind::Helper(id) => write!(f, "no helper with number {id}"),
            TrapKind::Kfunc(id) => write!(f, "no kernel function with BTF id {id}"),
            TrapKind::Map(handle) => write!(f, "no map with handle {handle:#x}"),
            TrapKind::WideLoad => write!(f, "64-bit load was not resolved"),
            TrapKind::Callback(to) => write!(f, "{to:#x} is not a function to call back"),
            TrapKind::BadArgument { helper, argument } => {
                write!(f, "helper {helper} refuses R{argument}")
            }
        }
    }
}

impl core::error::Error for Trap {}
