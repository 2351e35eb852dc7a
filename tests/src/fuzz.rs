//! Differential fuzzing of whole runs: the same program over the same packets
//! and maps, compiled in a VM, interpreted in a VM, and in the running kernel.
//! Verdict, return values, packets and maps afterwards must be the same.
//!
//! | part | is |
//! |---|---|
//! | [`Case`] | a program with its packets, from a [`Source`] and a seed |
//! | [`world`] | the maps that programs find, alike everywhere, and what is seen of a run |
//! | [`Target`] | one of the three places where a case can run |
//! | [`Fuzzer`] | runs a case everywhere and says how the results relate |
//! | [`text`] | cases as text, as they are kept in `tests/regressions` |

mod case;
mod fuzzer;
mod kernel;
mod parser;
pub mod text;
mod vm;
pub mod world;

pub use case::{Case, Source};
pub use fuzzer::{Finding, Fuzzer};
pub use kernel::Kernel;
pub use vm::Machine;
pub use world::{Outcome, Seen};

/// A place where cases run.
pub trait Target {
    /// Loads and runs a case in a fresh world.
    fn run(&mut self, case: &Case) -> Outcome;
}
