//! The state of the abstract machine: call frames, stacks, references.
use super::reg::{Kind, Reg};
use alloc::rc::Rc;
use alloc::vec::Vec;

/// What one byte of stack holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Byte {
    /// Never written.
    Invalid,
    /// Part of a spilled register.
    Spill,
    /// Data.
    Misc,
    /// Zero.
    Zero,
}

/// Eight bytes of stack; `bytes[0]` has the lowest address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Slot {
    pub bytes: [Byte; 8],
    /// The spilled register, where `bytes[0]` is [`Byte::Spill`].
    pub reg: Reg,
}

impl Slot {
    pub const EMPTY: Self = Self {
        bytes: [Byte::Invalid; 8],
        reg: Reg::NOT_INIT,
    };

    pub fn is_spill(&self) -> bool {
        self.bytes[0] == Byte::Spill
    }

    /// A spilled register of 8 bytes.
    pub fn is_full_spill(&self) -> bool {
        self.bytes[7] == Byte::Spill
    }

    pub fn is_scalar_spill(&self) -> bool {
        self.is_spill() && self.reg.is_scalar()
    }

    /// Forgets the register, leaving its bytes as data.
    pub fn scrub(&mut self) {
        for b in self.bytes.iter_mut().filter(|b| **b == Byte::Spill) {
            *b = Byte::Misc;
        }
        self.reg = Reg::NOT_INIT;
    }
}

/// One function in progress.
#[derive(Clone, Debug)]
pub(crate) struct Frame {
    pub regs: [Reg; 11],
    /// Slot 0 is the one just below R10.
    pub stack: Vec<Slot>,
    /// The calling instruction.
    pub callsite: usize,
    pub subprog: usize,
    /// The helper that called it back.
    pub callback: Option<Callback>,
    /// How often the callback ran on this path, in the frame that calls.
    pub callback_depth: u32,
}

/// Why a frame is a callback's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Callback {
    pub helper: u32,
}

impl Frame {
    pub fn new(callsite: usize, subprog: usize, depth: usize) -> Self {
        let mut regs = [Reg::NOT_INIT; 11];
        regs[10] = Reg::pointer_to(Kind::Stack, depth as i32);
        Self {
            regs,
            stack: Vec::new(),
            callsite,
            subprog,
            callback: None,
            callback_depth: 0,
        }
    }

    /// The slot that holds the byte at `off` (negative) and the byte's place.
    pub fn locate(off: i32) -> (usize, usize) {
        (((-off - 1) / 8) as usize, (off & 7) as usize)
    }

    /// Makes room for `bytes` bytes below R10.
    pub fn grow(&mut self, bytes: i32) {
        let slots = (bytes as usize).div_ceil(8);
        if self.stack.len() < slots {
            self.stack.resize(slots, Slot::EMPTY);
        }
    }

    /// The slot, empty where the stack has not grown there.
    pub fn slot(&self, nr: usize) -> &Slot {
        const EMPTY: &Slot = &Slot::EMPTY;
        self.stack.get(nr).unwrap_or(EMPTY)
    }
}

/// Something that must be given back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ref {
    pub id: u32,
    /// Where it was acquired.
    pub insn: u32,
}

/// A spin lock that is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lock {
    pub map: i32,
    pub uid: u32,
    pub id: u32,
}

/// One path's knowledge.
#[derive(Clone, Debug)]
pub(crate) struct State {
    pub frames: Vec<Rc<Frame>>,
    pub refs: Vec<Ref>,
    pub lock: Option<Lock>,
    /// The checkpoint that the path last passed.
    pub parent: u32,
    /// Per frame: stack slots wholly written since that checkpoint.
    pub written: [u64; 8],
    pub may_goto_depth: u32,
    /// Jumps since that checkpoint.
    pub jumps: u32,
}

impl State {
    /// The running function's number, from 0.
    pub fn depth(&self) -> usize {
        self.frames.len() - 1
    }
}
