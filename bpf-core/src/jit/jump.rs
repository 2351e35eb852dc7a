//! Jumps and exit.

use super::JitError;
use super::alu::Operand;
use super::analysis::{ends_flow, is_jump, jump_target, needs_scratch};
use super::compiler::Compiler;
use super::x86::{Cond, Form, Reg, Size, forms};
use crate::insn::{Insn, op};

/// Instructions of a loop's head that may be copied, with its jump.
const HEAD: usize = 4;

impl Compiler<'_> {
    pub(super) fn jump(&mut self, insn: Insn, size: Size) -> Result<(), JitError> {
        let code = insn.opcode & 0xf0;
        match (code, size) {
            (op::CALL, Size::D) => return self.call(insn),
            (op::EXIT, Size::D) => {
                self.epilogue();
                return Ok(());
            }
            _ => {}
        }
        let target = jump_target(self.at, insn).ok_or(self.unsupported())?;
        if code == op::JA {
            return self.jump_always(target);
        }
        if code == op::JCOND && size == Size::D {
            return self.may_goto(target);
        }
        let cond = condition(code).ok_or(self.unsupported())?;
        let dst = self.reg(insn.dst)?;
        let operand = self.operand(insn)?;
        if target == self.at + 1 {
            return Ok(());
        }
        self.compare(code, size, dst, operand);
        if let Some(other) = self.better_inverted(target) {
            self.skip_next = true;
            let label = self.insn_label(other);
            self.buf.jcc(cond.inverse(), label);
            if target != self.at + 2 {
                let label = self.insn_label(target);
                self.buf.jmp(label);
            }
            return Ok(());
        }
        let label = self.insn_label(target);
        self.buf.jcc(cond, label);
        Ok(())
    }

    /// Where the `goto` behind a conditional jump to `target` leads, if it is better
    /// to jump there on the opposite condition: because `target` is right behind
    /// the `goto`, or because the `goto` closes a loop, which then has one jump.
    fn better_inverted(&self, target: usize) -> Option<usize> {
        let next = self.at + 1;
        let insn = self.insn_at(next);
        let always = is_jump(insn) && ends_flow(insn);
        if !always || self.info.targets.get(next) != Some(&false) {
            return None;
        }
        let other = jump_target(next, insn)?;
        let over = target == next + 1;
        let closes = other <= self.at && target > self.at;
        (over || closes).then_some(other)
    }

    /// `dst` = whether the jump would be taken (or the opposite). `dst` is not an
    /// operand of the comparison.
    pub(super) fn select(&mut self, insn: Insn, dst: u8, taken: bool) -> Result<(), JitError> {
        let size = match insn.class() {
            op::JMP32 => Size::W,
            _ => Size::D,
        };
        let code = insn.opcode & 0xf0;
        let cond = condition(code).ok_or(self.unsupported())? as u8 ^ u8::from(!taken);
        let (dst, left) = (self.dst(dst)?, self.reg(insn.dst)?);
        let operand = self.operand(insn)?;
        self.buf.load_imm(dst, 0);
        self.compare(code, size, left, operand);
        let set = Form {
            opcode: forms::SETCC.opcode | cond,
            ..forms::SETCC
        };
        self.buf.op1(&set, Size::B, dst);
        Ok(())
    }

    fn jump_always(&mut self, target: usize) -> Result<(), JitError> {
        if let Some(end) = self.short_head(target) {
            return self.copy_head(target, end);
        }
        if target != self.at + 1 {
            let label = self.insn_label(target);
            self.buf.jmp(label);
        }
        Ok(())
    }

    /// The conditional jump at the end of a loop's head, where the head is so short
    /// and simple that a `goto` back to it had better do its work instead.
    fn short_head(&self, target: usize) -> Option<usize> {
        if target > self.at {
            return None;
        }
        for at in target..(target + HEAD).min(self.function.subprog.end as usize - 1) {
            let insn = self.insn_at(at);
            if self.has_plan(at) || needs_scratch(insn) {
                return None;
            }
            match insn.class() {
                op::ALU | op::ALU64 => {}
                op::JMP | op::JMP32 => return condition(insn.opcode & 0xf0).map(|_| at),
                _ => return None,
            }
        }
        None
    }

    /// Emits the instructions from `start` to the conditional jump at `end` once more,
    /// in place of a jump to them.
    fn copy_head(&mut self, start: usize, end: usize) -> Result<(), JitError> {
        let here = core::mem::replace(&mut self.at, start);
        while self.at < end {
            let insn = self.insn_at(self.at);
            if !self.is_dead(insn) {
                self.instruction(insn)?;
            }
            self.at += 1;
        }
        let insn = self.insn_at(end);
        let target = jump_target(end, insn).ok_or(self.unsupported())?;
        let code = insn.opcode & 0xf0;
        let cond = condition(code).ok_or(self.unsupported())?;
        let size = match insn.class() {
            op::JMP32 => Size::W,
            _ => Size::D,
        };
        let (dst, operand) = (self.reg(insn.dst)?, self.operand(insn)?);
        self.compare(code, size, dst, operand);
        self.at = here;
        let next = self.after(end)?;
        // What stays in the loop takes the one jump.
        let (cond, taken, other) = match target > here && next <= here {
            true => (cond.inverse(), next, target),
            false => (cond, target, next),
        };
        let label = self.insn_label(taken);
        self.buf.jcc(cond, label);
        if other != here + 1 {
            let label = self.insn_label(other);
            self.buf.jmp(label);
        }
        Ok(())
    }

    /// Where control goes when a conditional jump does not: a `goto` behind it may
    /// have been merged with it, and have no code of its own.
    fn after(&self, conditional: usize) -> Result<usize, JitError> {
        let next = conditional + 1;
        let insn = self.insn_at(next);
        match is_jump(insn) && ends_flow(insn) {
            true => jump_target(next, insn).ok_or(self.unsupported()),
            false => Ok(next),
        }
    }

    fn compare(&mut self, code: u8, size: Size, dst: Reg, operand: Operand) {
        match (operand, code) {
            (Operand::Reg(src), op::JSET) => self.buf.op(&forms::TEST_MR, size, src, dst),
            (Operand::Reg(src), _) => self.buf.op(&forms::CMP.mr, size, src, dst),
            (Operand::Imm(imm), op::JSET) => self.test_imm(size, dst, imm),
            (Operand::Imm(0), _) => self.buf.op(&forms::TEST_MR, size, dst, dst),
            (Operand::Imm(imm), _) => self.buf.alu_imm(&forms::CMP, size, dst, imm),
        }
    }

    /// `test` has no sign-extended byte form, but a mask without upper bits needs
    /// no more of the register than the mask covers. (The 8-bit form is used for
    /// 7-bit masks only: then the sign flag is 0 in each form.)
    fn test_imm(&mut self, size: Size, dst: Reg, imm: i32) {
        let (form, size) = match imm {
            0..=0x7f => (&forms::TEST8_MI, Size::B),
            0x80.. => (&forms::TEST_MI, Size::W),
            _ => (&forms::TEST_MI, size),
        };
        self.buf.op_imm(form, size, dst, i64::from(imm));
    }
}

/// The machine's condition after `cmp` (for `JSET`, `test`).
fn condition(code: u8) -> Option<Cond> {
    Some(match code {
        op::JEQ => Cond::Equal,
        op::JNE | op::JSET => Cond::NotEqual,
        op::JGT => Cond::Above,
        op::JGE => Cond::AboveEqual,
        op::JLT => Cond::Below,
        op::JLE => Cond::BelowEqual,
        op::JSGT => Cond::Greater,
        op::JSGE => Cond::GreaterEqual,
        op::JSLT => Cond::Less,
        op::JSLE => Cond::LessEqual,
        _ => return None,
    })
}
