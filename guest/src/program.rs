//! Loaded programs.
mod arena;
mod dump;
mod license;
mod load;
mod log;

pub use arena::{Arena, Full, Span};
pub use dump::dump;
pub use load::{load, unload};

use crate::map::{MapObject, Owner};
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use bpf_core::program::Program;
use bpf_core::uapi::ProgType;

/// A program, ready to run.
pub struct Prog {
    /// Decides what its context is.
    pub prog_type: ProgType,
    /// The instructions that it consists of now.
    pub program: Arc<Program>,
    /// Its machine code; `None` where programs are interpreted.
    code: Option<Compiled>,
    /// The maps whose addresses are in it.
    pub maps: Vec<Arc<MapObject>>,
    /// `expected_attach_type`.
    pub attach_type: u32,
    /// Flat programs: the lengths of memory that it was verified for.
    pub flat: (u32, u32),
}

/// Machine code in its place, given back when the program goes.
struct Compiled {
    arena: Arc<Arena>,
    span: Span,
    entry: u64,
    tail_entry: u64,
    /// Where the code of each instruction begins, and the end.
    offsets: Box<[u32]>,
}

impl Prog {
    /// What it has in common with programs that it may tail-call.
    pub fn owner(&self) -> Owner {
        Owner {
            prog_type: self.prog_type,
            attach_type: self.attach_type,
            flat: self.flat,
        }
    }

    /// Address of the main program's first instruction; 0 without machine code.
    #[inline]
    pub fn entry(&self) -> u64 {
        self.code.as_ref().map_or(0, |c| c.entry)
    }

    /// Address where a tail call into it lands; 0 without machine code.
    pub fn tail_entry(&self) -> u64 {
        self.code.as_ref().map_or(0, |c| c.tail_entry)
    }

    /// Offset in the machine code of each instruction, and the end as last
    /// element; empty without machine code.
    pub fn offsets(&self) -> &[u32] {
        self.code.as_ref().map_or(&[], |c| &c.offsets)
    }

    /// Where its machine code lies.
    pub fn span(&self) -> Span {
        self.code.as_ref().map_or(Span::default(), |c| c.span)
    }
}

impl Drop for Compiled {
    fn drop(&mut self) {
        self.arena.release(self.span);
    }
}
