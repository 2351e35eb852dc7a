//! Fragments around helper functions: references, callbacks, sizes, tail calls.

use super::bounds::Builder;
use super::code::{Label, Operand};
use super::{PROG_ARRAY, QUEUE, RINGBUF};
use bpf_core::insn::op;
use bpf_core::uapi::ProgType;

const TAIL_CALL: i32 = 12;
const SKB_LOAD_BYTES: i32 = 26;
const XDP_ADJUST_HEAD: i32 = 44;
const SKB_PULL_DATA: i32 = 39;
const MAP_PUSH: i32 = 87;
const MAP_POP: i32 = 88;
const STRTOL: i32 = 105;
const RINGBUF_OUTPUT: i32 = 130;
const RINGBUF_RESERVE: i32 = 131;
const RINGBUF_SUBMIT: i32 = 132;
const RINGBUF_DISCARD: i32 = 133;
const LOOP: i32 = 181;

impl Builder<'_> {
    /// One of the fragments of this file.
    pub(super) fn helper(&mut self) {
        match self.rng.below(7) {
            0 | 1 => self.reservation(),
            2 => self.callback(),
            3 => self.sized_memory(),
            4 => self.tail_call(),
            5 => self.queue(),
            _ => self.packet_change(),
        }
    }

    fn map(&mut self, reg: u8, handle: i32) {
        self.code.imm64(reg, op::PSEUDO_MAP_FD, handle, 0);
    }

    /// R`reg` = the address of `bytes` initialised bytes of the stack.
    fn buffer(&mut self, reg: u8, bytes: i32) {
        for at in 0..(bytes + 7) / 8 {
            self.code
                .store(op::DW, 10, (-8 * (at + 1)) as i16, Operand::Imm(at));
        }
        self.code.mov(reg, Operand::Reg(10));
        let start = -(bytes + 7) / 8 * 8 + self.slip();
        self.code.add(reg, Operand::Imm(start));
    }

    /// Reserved memory must be given back on every path.
    fn reservation(&mut self) {
        let size = self.rng.within(8, 64) as i32;
        self.map(1, RINGBUF);
        self.code.mov(2, Operand::Imm(size));
        self.code.mov(3, Operand::Imm(0));
        self.code.call(RINGBUF_RESERVE);
        if !self.rng.one_in(12) {
            self.code
                .jump_if(op::JMP, op::JEQ, 0, Operand::Imm(0), self.out);
        }
        let (code, bytes) = self.size();
        if self.rng.one_in(8) {
            // Leaks where the check leaves the program.
            let reg = self.scalar();
            self.check(reg);
        }
        let off = size - bytes + self.slip();
        self.access(code, 0, off as i16);
        if self.rng.one_in(12) {
            return;
        }
        self.code.mov(1, Operand::Reg(0));
        self.code.mov(2, Operand::Imm(0));
        let release = self.rng.pick(&[RINGBUF_SUBMIT, RINGBUF_DISCARD]);
        self.code.call(release);
    }

    /// `bpf_loop` over a function with a pointer to the caller's stack.
    fn callback(&mut self) {
        let entry = self.code.label();
        let rounds = self.rng.within(1, 20) as i32;
        self.code.store(op::DW, 10, -8, Operand::Imm(0));
        self.code.mov(1, Operand::Imm(rounds));
        self.code.imm_function(2, entry);
        self.code.mov(3, Operand::Reg(10));
        let start = -8 + self.slip() * 4;
        self.code.add(3, Operand::Imm(start));
        self.code.mov(4, Operand::Imm(0));
        self.code.call(LOOP);
        let (result, at) = (self.scalar(), self.rng.pick(&[-8, -4]));
        self.code.load(op::MEM, op::W, result, 10, at);
        self.callbacks.push(entry);
    }

    /// R1 the number of the round, R2 the caller's 8 bytes.
    pub(super) fn callback_function(&mut self, entry: Label) {
        self.code.bind(entry);
        match self.rng.below(3) {
            0 => self.code.store(op::DW, 2, 0, Operand::Reg(1)),
            1 => {
                self.code.load(op::MEM, op::DW, 3, 2, 0);
                self.code.add(3, Operand::Imm(1));
                self.code.store(op::DW, 2, 0, Operand::Reg(3));
            }
            _ => self.code.load(op::MEM, op::W, 3, 2, 0),
        }
        let result = self.rng.pick(&[0, 0, 0, 1, 1, 2]);
        self.code.mov(0, Operand::Imm(result));
        self.code.exit();
    }

    /// A buffer with a size that is only bounded.
    fn sized_memory(&mut self) {
        let size = self.scalar();
        let limit = self.rng.within(1, 32) as i32;
        if self.prog_type != ProgType::Xdp && self.rng.one_in(2) {
            self.buffer(3, limit);
            self.limit(size, limit);
            self.code.mov(1, Operand::Reg(6));
            self.code.mov(2, Operand::Imm(0));
            self.code.mov(4, Operand::Reg(size));
            return self.code.call(SKB_LOAD_BYTES);
        }
        self.buffer(2, limit);
        self.limit(size, limit);
        match self.rng.one_in(3) {
            true => {
                // The text, its length, the base, where the number goes.
                self.code.mov(1, Operand::Reg(2));
                self.code.mov(2, Operand::Reg(size));
                self.code.mov(3, Operand::Imm(0));
                self.code.mov(4, Operand::Reg(10));
                self.code.add(4, Operand::Imm(-48));
                self.code.call(STRTOL);
                self.code.load(op::MEM, op::DW, size, 10, -48);
            }
            false => {
                self.map(1, RINGBUF);
                self.code.mov(3, Operand::Reg(size));
                self.code.mov(4, Operand::Imm(0));
                self.code.call(RINGBUF_OUTPUT);
            }
        }
    }

    fn tail_call(&mut self) {
        let index = self.scalar();
        self.code.mov(1, Operand::Reg(6));
        self.map(2, PROG_ARRAY);
        match self.rng.one_in(2) {
            true => self.code.mov(3, Operand::Imm(1)),
            false => self.code.mov(3, Operand::Reg(index)),
        }
        self.code.call(TAIL_CALL);
    }

    fn queue(&mut self) {
        self.buffer(2, 8);
        self.map(1, QUEUE);
        match self.rng.one_in(2) {
            true => {
                self.code.mov(3, Operand::Imm(0));
                self.code.call(MAP_PUSH);
            }
            false => self.code.call(MAP_POP),
        }
        let result = self.scalar();
        self.code.mov(result, Operand::Reg(0));
    }

    /// After a helper that moves the packet old pointers are worth nothing.
    fn packet_change(&mut self) {
        self.code.mov(1, Operand::Reg(6));
        self.code.mov(2, Operand::Imm(0));
        match self.prog_type {
            ProgType::Xdp => self.code.call(XDP_ADJUST_HEAD),
            ProgType::SchedCls => self.code.call(SKB_PULL_DATA),
            _ => return,
        }
        let stale = self.rng.one_in(10);
        self.packet();
        if stale {
            self.code.mov(1, Operand::Reg(6));
            self.code.mov(2, Operand::Imm(0));
            self.code.call(XDP_ADJUST_HEAD);
            self.access(op::B, 2, 0);
        }
    }
}
