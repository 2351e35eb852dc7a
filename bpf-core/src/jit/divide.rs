//! Division and modulo. Nothing here can raise #DE: a divisor of zero gives 0
//! (modulo: the dividend), the smallest number divided by -1 gives itself
//! (modulo: 0), as RFC 9669, section 4.1, says.

use super::JitError;
use super::alu::Operand;
use super::compiler::Compiler;
use super::x86::{Cond, Mem, Reg, Size, forms};
use crate::insn::{Insn, op};

/// The BPF registers that RAX and RDX hold.
const RAX_IS: u8 = 0;
const RDX_IS: u8 = 3;

impl Compiler<'_> {
    pub(super) fn divide(
        &mut self,
        insn: Insn,
        size: Size,
        dst: Reg,
        operand: Operand,
    ) -> Result<(), JitError> {
        let modulo = insn.opcode & 0xf0 == op::MOD;
        let signed = match insn.off {
            0 => false,
            1 => true,
            _ => return Err(self.unsupported()),
        };
        match operand {
            Operand::Reg(src) => self.divide_reg(size, dst, src, signed, modulo),
            Operand::Imm(imm) => self.divide_imm(size, dst, imm, signed, modulo),
        }
        Ok(())
    }

    fn divide_reg(&mut self, size: Size, dst: Reg, src: Reg, signed: bool, modulo: bool) {
        let special = self.buf.new_label();
        let done = self.buf.new_label();
        if signed {
            // The divisors -1 and 0 are the only ones with src + 1 <= 1, unsigned.
            self.buf.lea(size, Reg::R11, Mem::new(src, 1));
            self.buf.alu_imm(&forms::CMP, size, Reg::R11, 1);
            self.buf.jcc(Cond::BelowEqual, special);
        } else {
            self.buf.op(&forms::TEST_MR, size, src, src);
            self.buf.jcc(Cond::Equal, special);
        }
        self.hardware_divide(size, dst, src, signed, modulo);
        self.buf.jmp(done);
        self.buf.bind(special);
        self.special_divide(size, dst, src, signed, modulo);
        self.buf.bind(done);
    }

    /// Divisor 0, or (signed) -1.
    fn special_divide(&mut self, size: Size, dst: Reg, src: Reg, signed: bool, modulo: bool) {
        match (signed, modulo) {
            // dst * 0 = 0, dst * -1 = -dst.
            (true, false) => self.buf.op(&forms::IMUL_RM, size, dst, src),
            // !0 keeps dst, !-1 clears it.
            (true, true) => {
                self.buf.mov(size, Reg::R11, src);
                self.buf.op1(&forms::NOT, size, Reg::R11);
                self.buf.op(&forms::AND.mr, size, Reg::R11, dst);
            }
            (false, false) => self.buf.load_imm(dst, 0),
            (false, true) => self.zero_extend(size, dst),
        }
    }

    /// The division instruction, for a divisor that is neither 0 nor (signed) -1.
    fn hardware_divide(&mut self, size: Size, dst: Reg, src: Reg, signed: bool, modulo: bool) {
        let save_rax = dst != Reg::RAX && self.live(RAX_IS);
        let save_rdx = dst != Reg::RDX && self.live(RDX_IS);
        let mut divisor = src;
        if src == Reg::RAX || src == Reg::RDX {
            self.buf.mov(size, Reg::R9, src);
            divisor = Reg::R9;
        }
        if save_rax {
            self.buf.mov(Size::D, Reg::R10, Reg::RAX);
        }
        if save_rdx {
            self.buf.mov(Size::D, Reg::R11, Reg::RDX);
        }
        if dst != Reg::RAX {
            self.buf.mov(size, Reg::RAX, dst);
        }
        if signed {
            self.buf.op0(&forms::CDQ, size);
            self.buf.op1(&forms::IDIV, size, divisor);
        } else {
            self.buf.load_imm(Reg::RDX, 0);
            self.buf.op1(&forms::DIV, size, divisor);
        }
        let result = if modulo { Reg::RDX } else { Reg::RAX };
        if dst != result {
            self.buf.mov(size, dst, result);
        }
        if save_rdx {
            self.buf.mov(Size::D, Reg::RDX, Reg::R11);
        }
        if save_rax {
            self.buf.mov(Size::D, Reg::RAX, Reg::R10);
        }
    }

    fn divide_imm(&mut self, size: Size, dst: Reg, imm: i32, signed: bool, modulo: bool) {
        match (imm, modulo) {
            (0, false) | (1, true) => return self.buf.load_imm(dst, 0),
            (0, true) | (1, false) => return self.zero_extend(size, dst),
            (-1, false) if signed => return self.buf.op1(&forms::NEG, size, dst),
            (-1, true) if signed => return self.buf.load_imm(dst, 0),
            _ => {}
        }
        let value = match size {
            Size::D => i64::from(imm) as u64,
            _ => u64::from(imm as u32),
        };
        if !signed && value.is_power_of_two() {
            return self.divide_power(size, dst, value, modulo);
        }
        if !signed && size == Size::W {
            return self.divide_by_reciprocal(dst, value, modulo);
        }
        self.buf.load_imm(Reg::R9, value);
        self.hardware_divide(size, dst, Reg::R9, signed, modulo);
    }

    /// 32-bit division by a constant d that is no power of two: the quotient is the
    /// upper half of n * c with c = ceil(2^64 / d) = (2^64 + e) / d, e < d. The
    /// product is too large by n * e / d, less than 2^64 / d, so this is exact.
    fn divide_by_reciprocal(&mut self, dst: Reg, value: u64, modulo: bool) {
        let save_rax = dst != Reg::RAX && self.live(RAX_IS);
        let save_rdx = dst != Reg::RDX && self.live(RDX_IS);
        if save_rax {
            self.buf.mov(Size::D, Reg::R10, Reg::RAX);
        }
        if save_rdx {
            self.buf.mov(Size::D, Reg::R11, Reg::RDX);
        }
        self.buf.mov(Size::W, Reg::R9, dst);
        self.buf.load_imm(Reg::RAX, u64::MAX / value + 1);
        self.buf.op1(&forms::MUL, Size::D, Reg::R9);
        if modulo {
            let (form, rdx) = (&forms::IMUL_I32, Reg::RDX);
            self.buf
                .emit(form, Size::W, rdx, rdx.into(), Reg::RAX, value as i64);
            self.buf.op(&forms::SUB.mr, Size::W, rdx, Reg::R9);
            self.buf.mov(Size::W, dst, Reg::R9);
        } else {
            self.buf.mov(Size::D, dst, Reg::RDX);
        }
        if save_rdx {
            self.buf.mov(Size::D, Reg::RDX, Reg::R11);
        }
        if save_rax {
            self.buf.mov(Size::D, Reg::RAX, Reg::R10);
        }
    }

    fn divide_power(&mut self, size: Size, dst: Reg, value: u64, modulo: bool) {
        let by = i64::from(value.trailing_zeros());
        if !modulo {
            return self.buf.op_imm(&forms::SHR.i8, size, dst, by);
        }
        match i32::try_from(value - 1) {
            Ok(mask) => self.buf.alu_imm(&forms::AND, Size::W, dst, mask),
            Err(_) => {
                self.buf.load_imm(Reg::R11, value - 1);
                self.buf.op(&forms::AND.mr, size, Reg::R11, dst);
            }
        }
    }
}
