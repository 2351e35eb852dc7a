//! Atomic read-modify-write instructions (RFC 9669, section 5.3) and the ordered
//! loads and stores of recent kernels, which are plain ones on this machine.

use super::JitError;
use super::compiler::Compiler;
use super::mem::access_size;
use super::x86::forms::{self, Alu};
use super::x86::{Cond, Mem, Reg, Size};
use crate::insn::{Insn, op};

impl Compiler<'_> {
    pub(super) fn atomic(&mut self, insn: Insn) -> Result<(), JitError> {
        let size = access_size(insn);
        let off = i32::from(insn.off);
        let (base, src) = (self.reg(insn.dst)?, self.reg(insn.src)?);
        match insn.imm {
            op::LOAD_ACQ => {
                let dst = self.dst(insn.dst)?;
                self.load_zero_extended(size, dst, Mem::new(src, off));
                return Ok(());
            }
            op::STORE_REL => {
                self.store_reg(size, src, Mem::new(base, off));
                return Ok(());
            }
            _ => {}
        }
        if !matches!(size, Size::W | Size::D) {
            return Err(self.unsupported());
        }
        let fetch = insn.imm & op::FETCH != 0;
        if fetch && insn.imm != op::CMPXCHG {
            self.dst(insn.src)?;
        }
        let mem = Mem::new(base, off);
        if insn.imm == op::XCHG {
            self.buf.op(&forms::XCHG, size, src, mem);
            return Ok(());
        }
        if insn.imm == op::CMPXCHG {
            self.compare_exchange(size, src, mem);
            return Ok(());
        }
        let alu = match insn.imm & !op::FETCH {
            imm if imm == i32::from(op::ADD) => &forms::ADD,
            imm if imm == i32::from(op::OR) => &forms::OR,
            imm if imm == i32::from(op::AND) => &forms::AND,
            imm if imm == i32::from(op::XOR) => &forms::XOR,
            _ => return Err(self.unsupported()),
        };
        if !fetch {
            self.buf.lock();
            self.buf.op(&alu.mr, size, src, mem);
        } else if *alu == forms::ADD {
            self.buf.lock();
            self.buf.op(&forms::XADD, size, src, mem);
        } else {
            self.fetch_loop(alu, size, src, mem);
        }
        Ok(())
    }

    /// The machine compares with RAX as BPF does with R0. Where the comparison
    /// holds, it leaves the upper half of RAX alone, BPF does not.
    fn compare_exchange(&mut self, size: Size, src: Reg, mem: Mem) {
        self.buf.lock();
        self.buf.op(&forms::CMPXCHG, size, src, mem);
        self.zero_extend(size, Reg::RAX);
    }

    /// Fetching `or`, `and` and `xor` have no instruction of their own.
    fn fetch_loop(&mut self, alu: &Alu, size: Size, src: Reg, mem: Mem) {
        let again = self.buf.new_label();
        let instead_of_rax = |r: Reg| if r == Reg::RAX { Reg::R11 } else { r };
        let mem = Mem {
            base: instead_of_rax(mem.base),
            ..mem
        };
        self.buf.mov(Size::D, Reg::R11, Reg::RAX);
        self.buf.op(&forms::MOV_RM, size, Reg::RAX, mem);
        self.buf.bind(again);
        self.buf.mov(size, Reg::R10, Reg::RAX);
        self.buf.op(&alu.mr, size, instead_of_rax(src), Reg::R10);
        self.buf.lock();
        self.buf.op(&forms::CMPXCHG, size, Reg::R10, mem);
        self.buf.jcc(Cond::NotEqual, again);
        if src != Reg::RAX {
            self.buf.mov(size, src, Reg::RAX);
            self.buf.mov(Size::D, Reg::RAX, Reg::R11);
        }
    }
}
