//! The pieces that programs for the verifier are made of.

use super::bounds::Builder;
use super::code::{Label, Operand};
use super::{MAPS, WITH_VALUES};
use bpf_core::insn::op;
use bpf_core::uapi::{ProgType, sk_buff, xdp_md};

const MAP_LOOKUP: i32 = 1;
const MAP_UPDATE: i32 = 2;
const MAP_DELETE: i32 = 3;

impl Builder<'_> {
    /// Lookup, null check, variable offset, access near the value's end.
    pub(super) fn map_value(&mut self) {
        let at = self.rng.below(WITH_VALUES as u64) as usize;
        let (handle, value) = (at as i32 + 1, MAPS[at].value_size as i32);
        let key = self.key(handle, MAPS[at].key_size as i32);
        if self.rng.one_in(6) {
            return self.map_change(handle, key);
        }
        self.code.call(MAP_LOOKUP);
        if !self.rng.one_in(30) {
            self.code
                .jump_if(op::JMP, op::JEQ, 0, Operand::Imm(0), self.out);
        }
        let (size, bytes) = self.size();
        if self.rng.one_in(4) {
            let off = value - bytes + self.slip();
            return self.access(size, 0, off as i16);
        }
        let index = self.scalar();
        let room = value - bytes;
        let limit = self.rng.within(0, room as i64) as i32;
        self.limit(index, limit);
        let scale = self.rng.below(3) as i32 * i32::from(self.rng.one_in(3));
        if scale > 0 && limit << scale <= room {
            self.code
                .alu(op::ALU64, op::LSH, index, Operand::Imm(scale), 0);
        }
        self.code.mov(1, Operand::Reg(0));
        self.offset(1, index);
        let off = (room - limit) / (1 + self.rng.below(2) as i32) + self.slip();
        self.access(size, 1, off as i16);
    }

    /// Adds a number to a pointer, in one of several spellings.
    fn offset(&mut self, ptr: u8, index: u8) {
        match self.rng.below(6) {
            0 => {
                // Back and forth.
                self.code.add(ptr, Operand::Imm(8));
                self.code.add(ptr, Operand::Reg(index));
                self.code.add(ptr, Operand::Imm(-8));
            }
            1 => {
                self.code.mov(5, Operand::Reg(index));
                self.code.add(5, Operand::Reg(ptr));
                self.code.mov(ptr, Operand::Reg(5));
            }
            2 if ptr == 1 => {
                self.code.add(ptr, Operand::Reg(index));
                self.code
                    .alu(op::ALU64, op::SUB, ptr, Operand::Reg(index), 0);
                self.code.add(ptr, Operand::Reg(index));
            }
            _ => self.code.add(ptr, Operand::Reg(index)),
        }
    }

    /// Puts a key on the stack; R1 = map, R2 = key.
    fn key(&mut self, handle: i32, size: i32) -> i16 {
        let off = -8 * self.rng.within(1, 4) as i16;
        let code = if size == 8 { op::DW } else { op::W };
        let source = self.scalar();
        match self.rng.one_in(3) {
            true => self.code.store(code, 10, off, Operand::Reg(source)),
            false => self
                .code
                .store(code, 10, off, Operand::Imm(self.rng.within(0, 4) as i32)),
        }
        self.code.mov(2, Operand::Reg(10));
        let start = off as i32 + self.slip() * 4;
        self.code.add(2, Operand::Imm(start));
        self.code.imm64(1, op::PSEUDO_MAP_FD, handle, 0);
        off
    }

    fn map_change(&mut self, handle: i32, key: i16) {
        if handle == 2 && self.rng.one_in(2) {
            return self.code.call(MAP_DELETE);
        }
        // The value is read from the key upwards: only short ones fit.
        if handle != 2 {
            return self.code.call(MAP_LOOKUP);
        }
        for slot in 0..3 {
            self.code
                .store(op::DW, 10, key - 24 + 8 * slot, Operand::Imm(slot as i32));
        }
        self.code.mov(3, Operand::Reg(10));
        let start = key as i32 - 24 + self.slip() * 8;
        self.code.add(3, Operand::Imm(start));
        self.code.mov(4, Operand::Imm(0));
        self.code.call(MAP_UPDATE);
    }

    /// A direct address of the third map's value.
    pub(super) fn direct_value(&mut self) {
        let (size, bytes) = self.size();
        let value = MAPS[2].value_size as i32;
        let at = self.rng.within(0, value as i64 - 1) as i32;
        self.code.imm64(1, op::PSEUDO_MAP_VALUE, 3, at);
        let room = value - at - bytes;
        match self.rng.one_in(2) {
            true => {
                let index = self.scalar();
                self.limit(index, room.max(0));
                self.offset(1, index);
                let off = self.slip();
                self.access(size, 1, off as i16);
            }
            false => {
                let off = room + self.slip();
                self.access(size, 1, off as i16);
            }
        }
    }

    /// `data`, `data_end`, a comparison, accesses near what it proved; perhaps a
    /// header of variable length after that.
    pub(super) fn packet(&mut self) {
        let (data, end) = match self.prog_type {
            ProgType::Xdp => (xdp_md::DATA, xdp_md::DATA_END),
            ProgType::SchedCls => (sk_buff::DATA, sk_buff::DATA_END),
            _ => return self.legacy_load(),
        };
        self.code.load(op::MEM, op::W, 2, 6, data as i16);
        self.code.load(op::MEM, op::W, 3, 6, end as i16);
        let room = self.rng.within(1, 64) as i32;
        self.packet_check(2, room);
        let (size, bytes) = self.size();
        let off = room - bytes + self.slip();
        self.access(size, 2, off.max(0) as i16);
        if self.rng.one_in(2) {
            let index = self.scalar();
            if off > 0 {
                self.code.load(op::MEM, op::B, index, 2, 0);
            }
            let limit = self.rng.within(0, 255) as i32;
            self.limit(index, limit);
            self.offset(2, index);
            self.packet_check(2, 16);
            let (size, bytes) = self.size();
            let off = 16 - bytes + self.slip();
            self.access(size, 2, off as i16);
        }
    }

    /// Leaves unless `room` bytes follow `ptr`; R3 is the packet's end.
    fn packet_check(&mut self, ptr: u8, room: i32) {
        let out = self.out;
        self.code.mov(4, Operand::Reg(ptr));
        self.code.add(4, Operand::Imm(room));
        let class = op::JMP;
        match self.rng.below(8) {
            0 => self.code.jump_if(class, op::JLT, 3, Operand::Reg(4), out),
            1 => self.code.jump_if(class, op::JGE, 4, Operand::Reg(3), out),
            2 => self.code.jump_if(class, op::JLE, 3, Operand::Reg(4), out),
            3 | 4 => {
                let (good, cond) = (self.code.label(), self.rng.pick(&[op::JLE, op::JLT]));
                self.code.jump_if(class, cond, 4, Operand::Reg(3), good);
                self.code.jump(false, out);
                self.code.bind(good);
            }
            _ => self.code.jump_if(class, op::JGT, 4, Operand::Reg(3), out),
        }
    }

    fn legacy_load(&mut self) {
        let size = self.rng.pick(&[op::B, op::H, op::W]);
        let index = self.scalar();
        let off = self.rng.within(0, 64) as i32;
        match self.rng.one_in(2) {
            true => self.code.raw(op::LD | op::ABS | size, 0, 0, 0, off),
            false => self.code.raw(op::LD | op::IND | size, 0, index, 0, off),
        }
        let to = self.scalar();
        self.code.mov(to, Operand::Reg(0));
    }

    /// Slots written and read in different sizes.
    pub(super) fn stack_fixed(&mut self) {
        for _ in 0..self.rng.within(1, 4) {
            let (size, bytes) = self.size();
            let off = -(bytes as i64) * self.rng.within(1, 64 / bytes as i64);
            let off = off + self.slip() as i64 * 8;
            self.access(size, 10, off as i16);
        }
    }

    /// A buffer on the stack at an offset that isn't known.
    pub(super) fn stack_variable(&mut self) {
        for slot in 1..=4 {
            self.code.store(op::DW, 10, -8 * slot, Operand::Imm(0));
        }
        // Wider accesses would have to be aligned.
        let (size, bytes) = match self.rng.one_in(8) {
            true => self.size(),
            false => (op::B, 1),
        };
        let index = self.scalar();
        self.limit(index, 32 - bytes);
        self.code.mov(2, Operand::Reg(10));
        let start = -32 + self.slip();
        self.code.add(2, Operand::Imm(start));
        self.offset(2, index);
        self.access(size, 2, 0);
    }

    /// A loop with a known bound, with an access by its counter.
    pub(super) fn counted_loop(&mut self) {
        let (counter, rounds) = (self.scalar(), self.rng.within(1, 8) as i32);
        let again = self.code.label();
        self.code.imm64(5, op::PSEUDO_MAP_VALUE, 3, 0);
        self.code.mov(counter, Operand::Imm(0));
        self.code.bind(again);
        self.code.mov(1, Operand::Reg(5));
        self.code.add(1, Operand::Reg(counter));
        let off = 1024 - rounds + self.slip();
        self.code.load(op::MEM, op::B, 0, 1, off as i16);
        // Not past the bound of a `!=`: that loop would run until the budget ends.
        let cond = self.rng.pick(&[op::JLT, op::JSLT, op::JNE, op::JLT]);
        let most = if cond == op::JNE { 1 } else { 2 };
        let step = self.rng.within(1, most) as i32;
        self.code.add(counter, Operand::Imm(step));
        let class = self.rng.pick(&[op::JMP, op::JMP, op::JMP32]);
        self.code
            .jump_if(class, cond, counter, Operand::Imm(rounds), again);
    }

    /// A number to the stack and back, perhaps half of it, perhaps after a check
    /// of the copy.
    pub(super) fn spill(&mut self) {
        let (from, to) = (self.scalar(), self.scalar());
        let off = -8 * self.rng.within(1, 8) as i16;
        let size = self.rng.pick(&[op::DW, op::DW, op::W]);
        self.code.store(size, 10, off, Operand::Reg(from));
        if self.rng.one_in(2) {
            self.check(from);
        }
        let (fill, at) = match self.rng.below(4) {
            0 => (op::W, off),
            1 => (op::B, off + 1),
            _ => (size, off),
        };
        self.code.load(op::MEM, fill, to, 10, at);
    }

    /// Two ways that meet again.
    pub(super) fn diamond(&mut self) {
        let (otherwise, end) = (self.code.label(), self.code.label());
        let reg = self.scalar();
        let cond = self.rng.pick(&super::alu::CONDITIONS);
        let k = Operand::Imm(self.rng.within(-4, 40) as i32);
        self.code.jump_if(op::JMP, cond, reg, k, otherwise);
        self.arithmetic();
        self.code.jump(false, end);
        self.code.bind(otherwise);
        self.arithmetic();
        self.code.bind(end);
    }

    /// A call with a number, a pointer into the stack and a limit.
    pub(super) fn call_function(&mut self) {
        let entry = self.code.label();
        let number = self.scalar();
        self.code.store(op::DW, 10, -16, Operand::Reg(number));
        self.code.store(op::DW, 10, -8, Operand::Imm(3));
        self.code.mov(1, Operand::Reg(number));
        self.code.mov(2, Operand::Reg(10));
        self.code.add(2, Operand::Imm(-16));
        self.code.call_local(entry);
        let result = self.scalar();
        self.code.mov(result, Operand::Reg(0));
        self.functions.push((entry, 1));
    }

    /// R1 a number, R2 a pointer to 16 bytes: what `call_function` passes.
    pub(super) fn function(&mut self, entry: Label, levels: u32) {
        self.code.bind(entry);
        let end = self.code.label();
        let (size, bytes) = self.size();
        let off = self.rng.within(0, 16 - bytes as i64) / bytes as i64 * bytes as i64;
        let off = off + self.slip() as i64 * 8;
        self.code.load(op::MEM, size, 0, 2, off as i16);
        if self.rng.one_in(2) {
            self.code.store(op::DW, 2, 8, Operand::Reg(1));
        }
        let limit = self.rng.within(0, 100) as i32;
        self.code
            .jump_if(op::JMP, op::JGT, 1, Operand::Imm(limit), end);
        self.code.mov(0, Operand::Reg(1));
        if levels > 0 && self.rng.one_in(3) {
            let inner = self.code.label();
            self.code.call_local(inner);
            self.functions.push((inner, levels - 1));
        }
        self.code.bind(end);
        self.code.exit();
    }
}
