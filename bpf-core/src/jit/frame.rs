//! Entry and exit of functions, and the way into compiled code.
//!
//! A function's frame, from high to low addresses: return address, caller's RBP
//! (then RBP = R10), the BPF stack, saved registers. Parts that a function does
//! not need are left out: a leaf without stack has no frame at all.

use super::JitError;
use super::analysis::Function;
use super::buffer::Buffer;
use super::compiler::{Compiler, x86_reg};
use super::effect::{RegSet, bit};
use super::x86::{Mem, Reg, Size, forms};
use crate::env::RunEnv;
use crate::uapi::limits;
use alloc::vec::Vec;

/// The register that holds the environment's address.
pub const ENV: Reg = Reg::R12;

/// Bytes below the stack pointer that nothing overwrites (System V ABI, 3.2.2).
const RED_ZONE: u32 = 128;

/// Layout of a function's frame.
#[derive(Clone, Copy, Debug, Default)]
pub struct Frame {
    /// RBP is set up as R10.
    base: bool,
    /// Bytes subtracted from RSP.
    area: u32,
    /// Registers pushed.
    saved: RegSet,
    /// Offset from RBP of the `may_goto` counter.
    pub counter: Option<i32>,
}

impl Frame {
    /// The frame that a function needs.
    pub fn of(f: &Function) -> Self {
        let base = f.frame || f.may_goto;
        let mut area = if base {
            f.subprog.stack_depth.next_multiple_of(8)
        } else {
            0
        };
        let mut counter = None;
        if f.may_goto {
            area += 8;
            counter = Some(-(area as i32));
        }
        let pushes = u32::from(base) + f.saved.count_ones();
        if f.calls {
            // The return address, the pushes and the area together keep RSP aligned.
            area += (8 + 8 * pushes + area) % 16;
        } else if f.saved == 0 && area <= RED_ZONE {
            area = 0;
        }
        Self {
            base,
            area,
            saved: f.saved,
            counter,
        }
    }

    fn saved_regs(&self) -> impl DoubleEndedIterator<Item = Reg> {
        let saved = self.saved;
        (6..10)
            .filter(move |&r| saved & bit(r) != 0)
            .filter_map(x86_reg)
    }

    fn enter(&self, buf: &mut Buffer) {
        if self.base {
            buf.op1(&forms::PUSH, Size::D, Reg::RBP);
            buf.mov(Size::D, Reg::RBP, Reg::RSP);
        }
        if self.area != 0 {
            buf.alu_imm(&forms::SUB, Size::D, Reg::RSP, self.area as i32);
        }
        for r in self.saved_regs() {
            buf.op1(&forms::PUSH, Size::D, r);
        }
        if let Some(at) = self.counter {
            let slot = Mem::new(Reg::RBP, at);
            buf.op_imm(&forms::MOV_MI, Size::D, slot, i64::from(limits::LOOPS));
        }
    }

    /// Undoes [`Frame::enter`]; RSP then points at the return address.
    fn leave(&self, buf: &mut Buffer) {
        for r in self.saved_regs().rev() {
            buf.op1(&forms::POP, Size::D, r);
        }
        if self.base && self.area != 0 {
            buf.op0(&forms::LEAVE, Size::D);
        } else if self.base {
            buf.op1(&forms::POP, Size::D, Reg::RBP);
        } else if self.area != 0 {
            buf.alu_imm(&forms::ADD, Size::D, Reg::RSP, self.area as i32);
        }
    }
}

impl Compiler<'_> {
    pub(super) fn prologue(&mut self) {
        self.frame.enter(&mut self.buf);
    }

    pub(super) fn epilogue(&mut self) {
        self.frame.leave(&mut self.buf);
        self.buf.op0(&forms::RET, Size::D);
    }

    /// Continues at the address in `entry` as the tail of this function. Where
    /// callers rely on R6 to R9, the target is called and they are restored.
    pub(super) fn leave_to(&mut self, entry: Reg) {
        if self.function.outermost {
            self.frame.leave(&mut self.buf);
            self.buf.op1(&forms::JMP, Size::D, entry);
        } else {
            self.buf.op1(&forms::CALL, Size::D, entry);
            self.epilogue();
        }
    }

    /// `may_goto`: leaves the loop when the function's rounds are used up.
    pub(super) fn may_goto(&mut self, target: usize) -> Result<(), JitError> {
        let at = self.frame.counter.ok_or(self.unsupported())?;
        let slot = Mem::new(Reg::RBP, at);
        let label = self.insn_label(target);
        self.buf.alu_imm(&forms::CMP, Size::D, slot, 0);
        self.buf.jcc(super::x86::Cond::Equal, label);
        self.buf.alu_imm(&forms::SUB, Size::D, slot, 1);
        Ok(())
    }

    /// Memory operand of the tail-call counter.
    pub(super) fn tail_calls(&self) -> Mem {
        Mem::new(ENV, RunEnv::TAIL_CALLS)
    }
}

/// The code through which everything else calls compiled code:
/// `extern "C" fn(env, entry, r1, r2, r3, r4) -> r0`. It saves the registers that
/// the C calling convention preserves (compiled code does not), puts the
/// environment's address where compiled code expects it, and calls `entry`. It is
/// position-independent.
pub fn trampoline() -> Vec<u8> {
    const SAVED: [Reg; 6] = [Reg::RBX, Reg::RBP, Reg::R12, Reg::R13, Reg::R14, Reg::R15];
    let mut buf = Buffer::new(0);
    for r in SAVED {
        buf.op1(&forms::PUSH, Size::D, r);
    }
    buf.alu_imm(&forms::SUB, Size::D, Reg::RSP, 8);
    let moves = [
        (ENV, Reg::RDI),
        (Reg::RAX, Reg::RSI),
        (Reg::RDI, Reg::RDX),
        (Reg::RSI, Reg::RCX),
        (Reg::RDX, Reg::R8),
        (Reg::RCX, Reg::R9),
    ];
    for (to, from) in moves {
        buf.mov(Size::D, to, from);
    }
    buf.load_imm(Reg::R8, 0);
    buf.op1(&forms::CALL, Size::D, Reg::RAX);
    buf.alu_imm(&forms::ADD, Size::D, Reg::RSP, 8);
    for r in SAVED.into_iter().rev() {
        buf.op1(&forms::POP, Size::D, r);
    }
    buf.op0(&forms::RET, Size::D);
    buf.bytes
}
