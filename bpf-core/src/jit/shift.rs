//! Shifts. The machine masks the count as BPF does (RFC 9669, section 4.1).

use super::alu::Operand;
use super::compiler::Compiler;
use super::x86::forms::{self, Shift};
use super::x86::{Form, Reg, Size};
use crate::insn::op;

/// The BPF register that RCX holds.
const RCX_IS: u8 = 4;

impl Compiler<'_> {
    /// `dst = src shifted by count`, with BMI2.
    pub(super) fn shift_from(&mut self, code: u8, size: Size, dst: Reg, src: Reg, count: Reg) {
        let (_, vex) = shift_forms(code);
        self.shift_vex(vex, size, dst, src, count);
    }

    pub(super) fn shift(&mut self, code: u8, size: Size, dst: Reg, operand: Operand) {
        let (shift, vex) = shift_forms(code);
        match operand {
            Operand::Imm(imm) => self.shift_imm(shift, size, dst, imm),
            Operand::Reg(Reg::RCX) if dst != Reg::RCX && !self.features.bmi2 => {
                self.buf.op1(&shift.cl, size, dst);
            }
            Operand::Reg(count) if self.features.bmi2 => self.shift_vex(vex, size, dst, dst, count),
            Operand::Reg(count) => self.shift_cl(shift, size, dst, count),
        }
    }

    fn shift_imm(&mut self, shift: &Shift, size: Size, dst: Reg, imm: i32) {
        let mask = if size == Size::D { 63 } else { 31 };
        match imm & mask {
            0 => self.zero_extend(size, dst),
            n => self.buf.op_imm(&shift.i8, size, dst, i64::from(n)),
        }
    }

    fn shift_vex(&mut self, form: &Form, size: Size, dst: Reg, src: Reg, count: Reg) {
        self.buf.emit(form, size, dst, src.into(), count, 0);
    }

    /// The count has to be in CL, so RCX makes room for it.
    fn shift_cl(&mut self, shift: &Shift, size: Size, dst: Reg, count: Reg) {
        self.buf.mov(Size::D, Reg::R11, Reg::RCX);
        self.buf.mov(Size::W, Reg::RCX, count);
        if dst == Reg::RCX {
            self.buf.op1(&shift.cl, size, Reg::R11);
            self.buf.mov(Size::D, Reg::RCX, Reg::R11);
            return;
        }
        self.buf.op1(&shift.cl, size, dst);
        if self.live(RCX_IS) {
            self.buf.mov(Size::D, Reg::RCX, Reg::R11);
        }
    }
}

fn shift_forms(code: u8) -> (&'static Shift, &'static Form) {
    match code {
        op::LSH => (&forms::SHL, &forms::SHLX),
        op::RSH => (&forms::SHR, &forms::SHRX),
        _ => (&forms::SAR, &forms::SARX),
    }
}
