//! Arithmetic, logic, moves and byte swaps.

use super::JitError;
use super::compiler::Compiler;
use super::x86::forms::{self, Alu};
use super::x86::{Form, Mem, Reg, Size};
use crate::insn::{Insn, op};

/// The second operand of an instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operand {
    /// A register.
    Reg(Reg),
    /// A sign-extended immediate.
    Imm(i32),
}

impl Compiler<'_> {
    pub(super) fn alu(&mut self, insn: Insn, size: Size) -> Result<(), JitError> {
        let dst = self.dst(insn.dst)?;
        let code = insn.opcode & 0xf0;
        if code == op::END {
            return self.byte_swap(insn, dst);
        }
        let operand = self.operand(insn)?;
        match code {
            op::ADD => self.add_sub(&forms::ADD, size, dst, operand),
            op::SUB => self.add_sub(&forms::SUB, size, dst, operand),
            op::OR => self.binary(&forms::OR, size, dst, operand),
            op::AND => self.and(size, dst, operand),
            op::XOR => self.binary(&forms::XOR, size, dst, operand),
            op::MUL => self.multiply(size, dst, operand),
            op::DIV | op::MOD => return self.divide(insn, size, dst, operand),
            op::LSH | op::RSH | op::ARSH => self.shift(code, size, dst, operand),
            op::NEG => self.buf.op1(&forms::NEG, size, dst),
            op::MOV => return self.move_value(insn, size, dst, operand),
            _ => return Err(self.unsupported()),
        }
        Ok(())
    }

    pub(super) fn operand(&self, insn: Insn) -> Result<Operand, JitError> {
        Ok(if insn.opcode & op::X != 0 {
            Operand::Reg(self.reg(insn.src)?)
        } else {
            Operand::Imm(insn.imm)
        })
    }

    fn binary(&mut self, alu: &Alu, size: Size, dst: Reg, operand: Operand) {
        match operand {
            Operand::Reg(src) => self.buf.op(&alu.mr, size, src, dst),
            Operand::Imm(0) => self.zero_extend(size, dst),
            Operand::Imm(imm) => self.buf.alu_imm(alu, size, dst, imm),
        }
    }

    /// What a 32-bit operation does to a register that it leaves unchanged.
    pub(super) fn zero_extend(&mut self, size: Size, dst: Reg) {
        self.buf.mov(size, dst, dst);
    }

    /// 128 does not fit a byte, but -128 does.
    fn add_sub(&mut self, alu: &Alu, size: Size, dst: Reg, operand: Operand) {
        let opposite = if *alu == forms::ADD {
            &forms::SUB
        } else {
            &forms::ADD
        };
        match operand {
            Operand::Imm(128) => self.buf.alu_imm(opposite, size, dst, -128),
            _ => self.binary(alu, size, dst, operand),
        }
    }

    fn and(&mut self, size: Size, dst: Reg, operand: Operand) {
        match operand {
            Operand::Reg(_) => self.binary(&forms::AND, size, dst, operand),
            Operand::Imm(0) => self.buf.load_imm(dst, 0),
            Operand::Imm(-1) => self.zero_extend(size, dst),
            Operand::Imm(0xff) => self.buf.op(&forms::MOVZX8, Size::W, dst, dst),
            Operand::Imm(0xffff) => self.buf.op(&forms::MOVZX16, Size::W, dst, dst),
            // A mask without upper bits clears them in the shorter form too.
            Operand::Imm(m) if m > 0 => self.buf.alu_imm(&forms::AND, Size::W, dst, m),
            Operand::Imm(m) => self.buf.alu_imm(&forms::AND, size, dst, m),
        }
    }

    fn multiply(&mut self, size: Size, dst: Reg, operand: Operand) {
        match operand {
            Operand::Reg(src) => self.buf.op(&forms::IMUL_RM, size, dst, src),
            Operand::Imm(imm) => self.multiply_imm(size, dst, dst, imm),
        }
    }

    /// `dst = src * imm`
    pub(super) fn multiply_imm(&mut self, size: Size, dst: Reg, src: Reg, imm: i32) {
        match imm {
            0 => self.buf.load_imm(dst, 0),
            1 => self.buf.mov(size, dst, src),
            3 | 5 | 9 => {
                let scale = imm.trailing_zeros().max((imm - 1).trailing_zeros()) as u8;
                self.buf.lea(size, dst, Mem::indexed(src, src, scale, 0));
            }
            m if m > 0 && m.count_ones() == 1 => {
                self.move_if_other(size, dst, src);
                let by = i64::from(m.trailing_zeros());
                self.buf.op_imm(&forms::SHL.i8, size, dst, by);
            }
            m => {
                let form = match i8::try_from(m) {
                    Ok(_) => &forms::IMUL_I8,
                    Err(_) => &forms::IMUL_I32,
                };
                self.buf
                    .emit(form, size, dst, src.into(), Reg::RAX, i64::from(m));
            }
        }
    }

    fn move_if_other(&mut self, size: Size, dst: Reg, src: Reg) {
        if dst != src {
            self.buf.mov(size, dst, src);
        }
    }

    fn move_value(
        &mut self,
        insn: Insn,
        size: Size,
        dst: Reg,
        operand: Operand,
    ) -> Result<(), JitError> {
        let (form, at): (&Form, Size) = match (operand, insn.off) {
            (Operand::Reg(src), 0) => {
                self.buf.mov(size, dst, src);
                return Ok(());
            }
            (Operand::Imm(imm), 0) => {
                let value = match size {
                    Size::D => i64::from(imm) as u64,
                    _ => u64::from(imm as u32),
                };
                self.buf.load_imm(dst, value);
                return Ok(());
            }
            (Operand::Reg(_), 8) => (&forms::MOVSX8, size),
            (Operand::Reg(_), 16) => (&forms::MOVSX16, size),
            (Operand::Reg(_), 32) if size == Size::D => (&forms::MOVSXD, size),
            _ => return Err(self.unsupported()),
        };
        if let Operand::Reg(src) = operand {
            self.buf.op(form, at, dst, src);
        }
        Ok(())
    }

    /// `le`, `be` (class ALU) and `bswap` (class ALU64); the immediate is the width
    /// in bits. On this little-endian machine `le` only truncates.
    fn byte_swap(&mut self, insn: Insn, dst: Reg) -> Result<(), JitError> {
        let swap = insn.class() == op::ALU64 || insn.opcode & op::X != 0;
        match (insn.imm, swap) {
            (16, true) => {
                self.buf.op_imm(&forms::ROL.i8, Size::H, dst, 8);
                self.buf.op(&forms::MOVZX16, Size::W, dst, dst);
            }
            (32, true) => self.buf.op1(&forms::BSWAP, Size::W, dst),
            (64, true) => self.buf.op1(&forms::BSWAP, Size::D, dst),
            (16, false) => self.buf.op(&forms::MOVZX16, Size::W, dst, dst),
            (32, false) => self.zero_extend(Size::W, dst),
            (64, false) => {}
            _ => return Err(self.unsupported()),
        }
        Ok(())
    }
}
