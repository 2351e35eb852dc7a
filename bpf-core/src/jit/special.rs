//! Instructions compiled by a plan instead of literally.

use super::JitError;
use super::compiler::Compiler;
use super::plan::Plan;
use super::value::Addr;
use super::x86::{Reg, Rm, Size, forms};
use crate::insn::{Insn, op};

impl Compiler<'_> {
    pub(super) fn special(&mut self, insn: Insn, plan: Plan) -> Result<(), JitError> {
        let size = match insn.class() {
            op::ALU => Size::W,
            _ => Size::D,
        };
        match plan {
            Plan::Skip => {}
            Plan::Access(a) => return self.access(insn, a),
            Plan::Lea(a) => {
                let dst = self.dst(insn.dst)?;
                self.sum(size, dst, a);
            }
            Plan::From(src) => return self.from(insn, size, src),
            Plan::Low(src) => {
                let (dst, src) = (self.dst(insn.dst)?, self.reg(src)?);
                self.buf.mov(Size::W, dst, src);
            }
            Plan::Rotate { src, left, size } => {
                let (dst, src) = (self.dst(insn.dst)?, self.reg(src)?);
                self.rotate(size, dst, src, left);
            }
            Plan::Select { dst, taken } => return self.select(insn, dst, taken),
            Plan::Lookup(l) => self.lookup(l),
        }
        Ok(())
    }

    fn access(&mut self, insn: Insn, a: Addr) -> Result<(), JitError> {
        let mem = self.mem(a);
        match insn.class() {
            op::LDX => return self.load_from(insn, mem),
            op::ST => self.store_imm_to(insn, mem),
            _ => {
                let src = self.reg(insn.src)?;
                self.store_reg(super::mem::access_size(insn), src, mem);
            }
        }
        Ok(())
    }

    /// `dst = a`, as a move or an addition where one will do.
    fn sum(&mut self, size: Size, dst: Reg, a: Addr) {
        let mem = self.mem(a);
        match (mem.index, mem.disp) {
            (None, 0) => self.buf.mov(size, dst, mem.base),
            (None, disp) if mem.base == dst => {
                self.buf.alu_imm(&forms::ADD, size, dst, disp);
            }
            (Some((i, 0)), 0) if mem.base == dst => self.buf.op(&forms::ADD.mr, size, i, dst),
            (Some((i, 0)), 0) if i == dst => self.buf.op(&forms::ADD.mr, size, mem.base, dst),
            _ => self.buf.lea(size, dst, mem),
        }
    }

    fn from(&mut self, insn: Insn, size: Size, src: u8) -> Result<(), JitError> {
        let (dst, src) = (self.dst(insn.dst)?, self.reg(src)?);
        match insn.opcode & 0xf0 {
            op::MUL => self.multiply_imm(size, dst, src, insn.imm),
            op::AND if insn.imm == 0xff => self.buf.op(&forms::MOVZX8, Size::W, dst, src),
            op::AND => self.buf.op(&forms::MOVZX16, Size::W, dst, src),
            code => {
                let count = self.reg(insn.src)?;
                self.shift_from(code, size, dst, src, count);
            }
        }
        Ok(())
    }

    fn rotate(&mut self, size: Size, dst: Reg, src: Reg, left: u8) {
        let bits = if size == Size::W { 32 } else { 64 };
        if self.features.bmi2 {
            let right = i64::from(bits - left);
            let (form, src) = (&forms::RORX, Rm::from(src));
            self.buf.emit(form, size, dst, src, Reg::RAX, right);
        } else {
            self.buf.mov(size, dst, src);
            self.buf.op_imm(&forms::ROL.i8, size, dst, i64::from(left));
        }
    }
}
