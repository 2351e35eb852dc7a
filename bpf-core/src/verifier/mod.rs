//! The proof that a program is safe.
pub mod domain;

use crate::program::{MapTable, Program, ProgramDesc};
use alloc::string::String;

mod opcode;
mod reject;
mod structure;
mod unverified;

pub use unverified::unverified;

/// `log_level` bits of `BPF_PROG_LOAD`.
pub mod log_level {
    /// Branch states (`BPF_LOG_LEVEL1`).
    pub const LEVEL1: u32 = 1;
    /// Every instruction (`BPF_LOG_LEVEL2`).
    pub const LEVEL2: u32 = 2;
    /// Final statistics (`BPF_LOG_STATS`).
    pub const STATS: u32 = 4;
}

/// How to verify.
pub struct Options<'a> {
    /// Bits of [`log_level`].
    pub log_level: u32,
    /// Most instructions to process before giving up with E2BIG.
    pub insn_budget: u32,
    /// Called now and then; `true` means that the time budget is used up
    /// (EAGAIN is the kernel's answer to an interrupted load, E2BIG ours).
    pub out_of_time: &'a dyn Fn() -> bool,
}

/// Figures of one verification, as in the last line of the kernel's log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Instructions processed, on all paths.
    pub insns_processed: u32,
    /// States kept for pruning.
    pub total_states: u32,
    /// The most states kept at one instruction.
    pub max_states_per_insn: u32,
    /// The longest list of pending branches.
    pub peak_states: u32,
}

/// Why a program was not accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reject {
    /// Positive errno, as the kernel would answer.
    pub errno: i32,
    /// Index of the instruction at fault, in the program as loaded.
    pub insn: Option<u32>,
    /// One line: what was expected and what was found. It is the log's last
    /// line but for the statistics.
    pub reason: String,
    /// The program asks for something outside what bpfvisor means to do
    /// (program type, map type, helper, BTF), rather than being wrong.
    pub unsupported: bool,
}

/// The verdict on a program, with the figures of getting there.
pub struct Outcome {
    /// The program in executable form, or why not.
    pub verdict: Result<Program, Reject>,
    /// Figures, also for a rejected program.
    pub stats: Stats,
    /// The log, at the level asked for (empty at level 0).
    pub log: String,
}

/// Judges a program.
pub fn verify(_desc: &ProgramDesc<'_>, _maps: &dyn MapTable, _opts: &Options<'_>) -> Outcome {
    unimplemented!()
}
