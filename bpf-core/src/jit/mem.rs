//! Loads, stores and wide immediates.

use super::JitError;
use super::compiler::Compiler;
use super::pool::wide_value;
use super::x86::{Mem, Reg, Size, forms};
use crate::insn::{Insn, op};

/// The size of a memory access.
pub fn access_size(insn: Insn) -> Size {
    match insn.opcode & 0x18 {
        op::W => Size::W,
        op::H => Size::H,
        op::B => Size::B,
        _ => Size::D,
    }
}

impl Compiler<'_> {
    pub(super) fn load(&mut self, insn: Insn) -> Result<(), JitError> {
        let mem = Mem::new(self.reg(insn.src)?, i32::from(insn.off));
        self.load_from(insn, mem)
    }

    pub(super) fn load_from(&mut self, insn: Insn, mem: Mem) -> Result<(), JitError> {
        let dst = self.dst(insn.dst)?;
        let size = access_size(insn);
        match insn.opcode & 0xe0 {
            op::MEM => self.load_zero_extended(size, dst, mem),
            op::MEMSX if size != Size::D => {
                let form = match size {
                    Size::B => &forms::MOVSX8,
                    Size::H => &forms::MOVSX16,
                    _ => &forms::MOVSXD,
                };
                self.buf.op(form, Size::D, dst, mem);
            }
            _ => return Err(self.unsupported()),
        }
        Ok(())
    }

    pub(super) fn load_zero_extended(&mut self, size: Size, dst: Reg, mem: Mem) {
        match size {
            Size::B => self.buf.op(&forms::MOVZX8, Size::W, dst, mem),
            Size::H => self.buf.op(&forms::MOVZX16, Size::W, dst, mem),
            _ => self.buf.op(&forms::MOV_RM, size, dst, mem),
        }
    }

    pub(super) fn store_imm(&mut self, insn: Insn) -> Result<(), JitError> {
        if insn.opcode & 0xe0 != op::MEM {
            return Err(self.unsupported());
        }
        let mem = Mem::new(self.reg(insn.dst)?, i32::from(insn.off));
        self.store_imm_to(insn, mem);
        Ok(())
    }

    pub(super) fn store_imm_to(&mut self, insn: Insn, mem: Mem) {
        let size = access_size(insn);
        let form = match size {
            Size::B => &forms::MOV8_MI,
            _ => &forms::MOV_MI,
        };
        self.buf.op_imm(form, size, mem, i64::from(insn.imm));
    }

    pub(super) fn store(&mut self, insn: Insn) -> Result<(), JitError> {
        match insn.opcode & 0xe0 {
            op::MEM => {
                let mem = Mem::new(self.reg(insn.dst)?, i32::from(insn.off));
                let src = self.reg(insn.src)?;
                self.store_reg(access_size(insn), src, mem);
                Ok(())
            }
            op::ATOMIC => self.atomic(insn),
            _ => Err(self.unsupported()),
        }
    }

    pub(super) fn store_reg(&mut self, size: Size, src: Reg, mem: Mem) {
        let form = match size {
            Size::B => &forms::MOV8_MR,
            _ => &forms::MOV_MR,
        };
        self.buf.op(form, size, src, mem);
    }

    /// Class LD: wide immediates and the legacy packet loads.
    pub(super) fn load_special(&mut self, insn: Insn) -> Result<(), JitError> {
        if insn.is_wide() {
            return self.load_wide(insn);
        }
        match insn.opcode & 0xe0 {
            op::ABS | op::IND if access_size(insn) != Size::D => self.packet_load(insn),
            _ => Err(self.unsupported()),
        }
    }

    fn load_wide(&mut self, insn: Insn) -> Result<(), JitError> {
        let dst = self.dst(insn.dst)?;
        if insn.src == op::PSEUDO_FUNC {
            let start = self.at as i64 + 1 + i64::from(insn.imm);
            let label = self.entry_at(usize::try_from(start).ok())?;
            self.buf.lea_label(dst, label);
            return Ok(());
        }
        let next = self.insn_at(self.at + 1);
        let value = wide_value(self.maps, insn, next).ok_or(self.unsupported())?;
        match self.pool.find(value).and_then(|k| self.pool.reg(k)) {
            Some(reg) => self.buf.mov(Size::D, dst, reg),
            None => self.buf.load_imm(dst, value),
        }
        Ok(())
    }
}
