//! Calls: helpers, functions of the same program, packet loads, tail calls.

use super::JitError;
use super::compiler::Compiler;
use super::frame::ENV;
use super::mem::access_size;
use super::x86::{Cond, Mem, Reg, Size, forms};
use crate::env::{MapHeader, runtime_fn};
use crate::helper::TAIL_CALL;
use crate::insn::{Insn, op};
use crate::uapi::limits;
use core::mem::offset_of;

/// A call with a 32-bit displacement reaches its target for certain if the target
/// is this close to the code's base, however large the code becomes.
const REACH: u64 = (1 << 31) - (1 << 30);

impl Compiler<'_> {
    pub(super) fn call(&mut self, insn: Insn) -> Result<(), JitError> {
        if insn.opcode & op::X != 0 {
            return Err(self.unsupported());
        }
        match insn.src {
            0 if insn.imm == TAIL_CALL as i32 => self.tail_call(),
            0 => self.call_helper(insn.imm as u32)?,
            op::PSEUDO_CALL => {
                let start = self.at as i64 + 1 + i64::from(insn.imm);
                let label = self.entry_at(usize::try_from(start).ok())?;
                self.buf.call(label);
            }
            _ => return Err(self.unsupported()),
        }
        Ok(())
    }

    /// Calls a helper with the environment as its sixth argument.
    fn call_helper(&mut self, id: u32) -> Result<(), JitError> {
        let address = self.target.helper(id).ok_or(self.unsupported())?;
        self.buf.mov(Size::D, Reg::R9, ENV);
        let distance = address.wrapping_sub(self.base) as i64;
        if distance.unsigned_abs() < REACH {
            self.buf.call_address(address);
        } else {
            self.buf.load_imm(Reg::RAX, address);
            self.buf.op1(&forms::CALL, Size::D, Reg::RAX);
        }
        Ok(())
    }

    /// `BPF_ABS` and `BPF_IND`: a negative answer of the runtime ends the function
    /// with R0 = 0.
    pub(super) fn packet_load(&mut self, insn: Insn) -> Result<(), JitError> {
        let bytes = match access_size(insn) {
            Size::B => 1,
            Size::H => 2,
            _ => 4,
        };
        if insn.opcode & 0xe0 == op::IND {
            let index = self.reg(insn.src)?;
            self.buf.lea(Size::W, Reg::RDI, Mem::new(index, insn.imm));
            self.buf.op(&forms::MOVSXD, Size::D, Reg::RDI, Reg::RDI);
        } else {
            self.buf.load_imm(Reg::RDI, i64::from(insn.imm) as u64);
        }
        self.buf.load_imm(Reg::RSI, bytes);
        self.call_helper(runtime_fn::PACKET_LOAD)?;
        let good = self.buf.new_label();
        self.buf.op(&forms::TEST_MR, Size::D, Reg::RAX, Reg::RAX);
        self.buf.jcc(Cond::NotSign, good);
        self.buf.load_imm(Reg::RAX, 0);
        self.epilogue();
        self.buf.bind(good);
        Ok(())
    }

    /// `bpf_tail_call`: R2 = program array, R3 = index. Goes on behind the call
    /// where the index is out of range, the slot empty or the limit reached.
    fn tail_call(&mut self) {
        let out = self.buf.new_label();
        let counter = self.tail_calls();
        let header = |field: usize| Mem::new(Reg::RSI, field as i32);
        let index = Reg::RDX;
        self.zero_extend(Size::W, index);
        let capacity = header(offset_of!(MapHeader, max_entries));
        self.buf.op(&forms::CMP.rm, Size::W, index, capacity);
        self.buf.jcc(Cond::AboveEqual, out);
        self.buf
            .alu_imm(&forms::CMP, Size::W, counter, limits::TAIL_CALLS as i32);
        self.buf.jcc(Cond::AboveEqual, out);
        let table = header(offset_of!(MapHeader, values));
        self.buf.op(&forms::MOV_RM, Size::D, Reg::R11, table);
        let slot = Mem::indexed(Reg::R11, index, 3, 0);
        self.buf.op(&forms::MOV_RM, Size::D, Reg::R11, slot);
        self.buf.op(&forms::TEST_MR, Size::D, Reg::R11, Reg::R11);
        self.buf.jcc(Cond::Equal, out);
        self.buf.alu_imm(&forms::ADD, Size::W, counter, 1);
        self.leave_to(Reg::R11);
        self.buf.bind(out);
    }
}
