//! Loads, stores and wide immediates.

use super::JitError;
use super::compiler::Compiler;
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
        let dst = self.dst(insn.dst)?;
        let mem = Mem::new(self.reg(insn.src)?, i32::from(insn.off));
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
        let size = access_size(insn);
        let form = match size {
            Size::B => &forms::MOV8_MI,
            _ => &forms::MOV_MI,
        };
        self.buf.op_imm(form, size, mem, i64::from(insn.imm));
        Ok(())
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
        let next = self.insn_at(self.at + 1);
        let unsupported = self.unsupported();
        let map = || self.maps.map(insn.imm as u32).ok_or(unsupported.clone());
        let value = match insn.src {
            0 => u64::from(next.imm as u32) << 32 | u64::from(insn.imm as u32),
            op::PSEUDO_MAP_FD => map()?.object_addr,
            op::PSEUDO_MAP_VALUE => map()?
                .values_addr
                .wrapping_add(u64::from(next.imm as u32)),
            op::PSEUDO_FUNC => {
                let start = self.at as i64 + 1 + i64::from(insn.imm);
                let label = self.entry_at(usize::try_from(start).ok())?;
                self.buf.lea_label(dst, label);
                return Ok(());
            }
            _ => return Err(unsupported),
        };
        self.buf.load_imm(dst, value);
        Ok(())
    }
}
