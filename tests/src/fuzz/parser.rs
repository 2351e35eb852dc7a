//! XDP programs of the kind that people write: they parse packets, count in
//! maps, call functions. Nearly all are valid.
//!
//! Between fragments R6 holds the context and R7 to R9 hold numbers; R0 to R5
//! may hold anything, and no fragment expects anything of the stack. A fragment
//! that can't go on jumps behind itself.

use crate::generate::{Code, Label, Operand, Rng, Sample};
use bpf_core::insn::op;
use bpf_core::uapi::ProgType;

const LOOKUP: i32 = 1;
const UPDATE: i32 = 2;
const DELETE: i32 = 3;
const TAIL_CALL: i32 = 12;
const CSUM_DIFF: i32 = 28;
const ADJUST_HEAD: i32 = 44;
const ADJUST_TAIL: i32 = 65;
const PUSH: i32 = 87;
const POP: i32 = 88;
const PEEK: i32 = 89;

/// Handles of the maps.
const ARRAY: i32 = 1;
const HASH: i32 = 2;
const DATA: i32 = 3;
const PROGRAMS: i32 = 5;
const QUEUE: i32 = 6;

pub(super) fn generate(rng: &mut Rng) -> Sample {
    let mut gen_ = Parser {
        code: Code::default(),
        rng,
        functions: Vec::new(),
    };
    gen_.program();
    Sample {
        prog_type: ProgType::Xdp,
        insns: gen_.code.finish(),
    }
}

struct Parser<'r> {
    code: Code,
    rng: &'r mut Rng,
    /// Entries of functions to write, and how deep they may call.
    functions: Vec<(Label, u32)>,
}

impl Parser<'_> {
    fn program(&mut self) {
        self.code.mov(6, Operand::Reg(1));
        for reg in 7..=9 {
            self.code.mov(reg, Operand::Imm(self.rng.imm()));
        }
        self.parse();
        for _ in 0..self.rng.within(2, 8) {
            self.fragment(1);
        }
        self.code.mov(0, Operand::Reg(7));
        for reg in 8..=9 {
            self.code
                .alu(op::ALU64, op::MUL, 0, Operand::Imm(0x0100_0193), 0);
            self.code.alu(op::ALU64, op::XOR, 0, Operand::Reg(reg), 0);
        }
        self.code.exit();
        while let Some((entry, levels)) = self.functions.pop() {
            self.function(entry, levels);
        }
    }

    fn fragment(&mut self, depth: u32) {
        match self.rng.below(20) {
            0..=3 => self.parse(),
            4 | 5 => self.array(),
            6 | 7 => self.hash(),
            8 => self.change_hash(),
            9 | 10 => self.direct(),
            11 => self.queue(),
            12 | 13 => self.call(),
            14 => self.tail_call(),
            15 => self.adjust(),
            16 => self.sum(),
            17 => self.checksum(),
            18 if depth > 0 => self.branch(depth - 1),
            _ => self.arithmetic(),
        }
    }

    fn scalar(&mut self) -> u8 {
        self.rng.within(7, 9) as u8
    }

    fn size(&mut self) -> (u8, i64) {
        self.rng
            .pick(&[(op::B, 1), (op::H, 2), (op::W, 4), (op::DW, 8)])
    }

    fn map(&mut self, reg: u8, handle: i32) {
        self.code.imm64(reg, op::PSEUDO_MAP_FD, handle, 0);
    }

    /// R2 = the packet, R3 = its end.
    fn bounds(&mut self) {
        self.code.load(op::MEM, op::W, 2, 6, 0);
        self.code.load(op::MEM, op::W, 3, 6, 4);
    }

    /// Jumps unless `room` bytes follow R2.
    fn room(&mut self, room: i32, out: Label) {
        self.code.mov(4, Operand::Reg(2));
        self.code.add(4, Operand::Imm(room));
        self.code.jump_if(op::JMP, op::JGT, 4, Operand::Reg(3), out);
    }

    /// Headers: a fixed one, perhaps one of variable length behind it.
    fn parse(&mut self) {
        let out = self.code.label();
        self.bounds();
        let room = self.rng.within(8, 40);
        self.room(room as i32, out);
        for _ in 0..self.rng.within(1, 3) {
            self.access(2, room);
        }
        if self.rng.one_in(2) {
            let (at, more) = (self.rng.within(0, room - 1), self.rng.within(8, 24));
            self.code.load(op::MEM, op::B, 5, 2, at as i16);
            let mask = self.rng.pick(&[0x0f, 0x3c, 0xff]);
            self.code.alu(op::ALU, op::AND, 5, Operand::Imm(mask), 0);
            self.code.alu(op::ALU64, op::LSH, 5, Operand::Imm(2), 0);
            self.code.add(2, Operand::Reg(5));
            self.room(more as i32, out);
            self.access(2, more);
        }
        self.code.bind(out);
    }

    /// Reads or writes somewhere in the `room` bytes behind a pointer.
    fn access(&mut self, ptr: u8, room: i64) {
        let ((code, size), reg) = (self.size(), self.scalar());
        let at = self.rng.within(0, room - size) as i16;
        match self.rng.below(6) {
            0 => self.code.store(code, ptr, at, Operand::Reg(reg)),
            1 => {
                let imm = self.rng.imm();
                self.code.store(code, ptr, at, Operand::Imm(imm));
            }
            2 if size < 8 => self.code.load(op::MEMSX, code, reg, ptr, at),
            _ => {
                self.code.load(op::MEM, code, reg, ptr, at);
                if self.rng.one_in(3) {
                    let bits = self.rng.pick(&[16, 32, 64]);
                    let end = op::ALU | op::END | op::X;
                    self.code.raw(end, reg, 0, 0, bits);
                }
            }
        }
    }

    /// Accesses and atomics in a map's value of `room` bytes, aligned to 8.
    fn value(&mut self, ptr: u8, room: i64) {
        for _ in 0..self.rng.within(1, 3) {
            match self.rng.one_in(2) {
                true => self.access(ptr, room),
                false => self.atomic(ptr, room),
            }
        }
    }

    fn atomic(&mut self, ptr: u8, room: i64) {
        let (code, size) = self.rng.pick(&[(op::W, 4), (op::DW, 8)]);
        let at = (size * self.rng.within(0, room / size - 1)) as i16;
        let plain = self.rng.pick(&[op::ADD, op::OR, op::AND, op::XOR]) as i32;
        let imm = match self.rng.below(4) {
            0 => plain,
            1 => op::XCHG,
            2 if ptr != 0 && code == op::DW => op::CMPXCHG,
            _ => plain | op::FETCH,
        };
        if imm == op::CMPXCHG {
            let expected = self.scalar();
            self.code.mov(0, Operand::Reg(expected));
        }
        let src = self.scalar();
        self.code
            .raw(op::STX | op::ATOMIC | code, ptr, src, at, imm);
        if imm == op::CMPXCHG {
            let result = self.scalar();
            self.code.mov(result, Operand::Reg(0));
        }
    }

    /// R1 = map, R2 = a key on the stack, often one that exists.
    fn key(&mut self, handle: i32, size: u8) {
        let reg = self.scalar();
        if self.rng.one_in(2) {
            self.code.mov(1, Operand::Reg(reg));
            let mask = self.rng.pick(&[3, 7, 15]);
            self.code.alu(op::ALU64, op::AND, 1, Operand::Imm(mask), 0);
            self.code.store(size, 10, -8, Operand::Reg(1));
        } else {
            let key = self.rng.within(0, 5) as i32;
            self.code.store(size, 10, -8, Operand::Imm(key));
        }
        self.code.mov(2, Operand::Reg(10));
        self.code.add(2, Operand::Imm(-8));
        self.map(1, handle);
    }

    fn lookup(&mut self, room: i64) {
        let out = self.code.label();
        self.code.call(LOOKUP);
        self.code.jump_if(op::JMP, op::JEQ, 0, Operand::Imm(0), out);
        let ptr = self.rng.pick(&[0, 1]);
        if ptr == 1 {
            self.code.mov(1, Operand::Reg(0));
        }
        self.value(ptr, room);
        self.code.bind(out);
    }

    fn array(&mut self) {
        self.key(ARRAY, op::W);
        self.lookup(48);
    }

    fn hash(&mut self) {
        self.key(HASH, op::DW);
        self.lookup(17);
    }

    fn change_hash(&mut self) {
        let result = self.scalar();
        self.key(HASH, op::DW);
        if self.rng.one_in(3) {
            self.code.call(DELETE);
        } else {
            for slot in 2..=4 {
                let reg = self.scalar();
                self.code.store(op::DW, 10, -8 * slot, Operand::Reg(reg));
            }
            self.code.mov(3, Operand::Reg(10));
            self.code.add(3, Operand::Imm(-32));
            let flags = self.rng.pick(&[0, 0, 1, 2]);
            self.code.mov(4, Operand::Imm(flags));
            self.code.call(UPDATE);
        }
        self.code.mov(result, Operand::Reg(0));
    }

    /// A global variable.
    fn direct(&mut self) {
        let at = 8 * self.rng.within(0, 120);
        self.code.imm64(1, op::PSEUDO_MAP_VALUE, DATA, at as i32);
        if self.rng.one_in(3) {
            let index = self.scalar();
            self.code.mov(2, Operand::Reg(index));
            self.code.alu(op::ALU64, op::AND, 2, Operand::Imm(24), 0);
            self.code.add(1, Operand::Reg(2));
        }
        self.value(1, 32);
    }

    fn queue(&mut self) {
        let reg = self.scalar();
        self.code.store(op::DW, 10, -8, Operand::Reg(reg));
        self.code.mov(2, Operand::Reg(10));
        self.code.add(2, Operand::Imm(-8));
        self.map(1, QUEUE);
        let helper = self.rng.pick(&[PUSH, POP, PEEK]);
        if helper == PUSH {
            let flags = self.rng.pick(&[0, 2]);
            self.code.mov(3, Operand::Imm(flags));
        }
        self.code.call(helper);
        self.code.mov(reg, Operand::Reg(0));
        let other = self.scalar();
        self.code.load(op::MEM, op::DW, other, 10, -8);
    }

    fn call(&mut self) {
        let (entry, number) = (self.code.label(), self.scalar());
        self.code.store(op::DW, 10, -16, Operand::Reg(number));
        self.code.store(op::DW, 10, -8, Operand::Imm(3));
        self.code.mov(1, Operand::Reg(number));
        self.code.mov(2, Operand::Reg(10));
        self.code.add(2, Operand::Imm(-16));
        self.code.call_local(entry);
        let result = self.scalar();
        self.code.mov(result, Operand::Reg(0));
        self.code.load(op::MEM, op::DW, number, 10, -8);
        self.functions.push((entry, 3));
    }

    /// R1 a number, R2 16 bytes of the caller's. R6 to R9 are the function's own.
    fn function(&mut self, entry: Label, levels: u32) {
        self.code.bind(entry);
        self.code.mov(6, Operand::Reg(2));
        self.code.mov(7, Operand::Reg(1));
        self.code.load(op::MEM, op::DW, 8, 6, 0);
        let imm = self.rng.imm();
        self.code.mov(9, Operand::Imm(imm));
        self.arithmetic();
        self.atomic(6, 16);
        match self.rng.below(4) {
            0 if levels > 0 => {
                let inner = self.code.label();
                let (size, _) = self.size();
                self.code.store(size, 10, -48, Operand::Reg(7));
                self.code.mov(1, Operand::Reg(8));
                self.code.mov(2, Operand::Reg(6));
                self.code.call_local(inner);
                self.code.alu(op::ALU64, op::XOR, 7, Operand::Reg(0), 0);
                self.code.load(op::MEM, size, 9, 10, -48);
                self.functions.push((inner, levels - 1));
            }
            1 => self.hash(),
            2 => self.direct(),
            _ => {}
        }
        self.code.mov(0, Operand::Reg(7));
        self.code.alu(op::ALU64, op::SUB, 0, Operand::Reg(8), 0);
        self.code.alu(op::ALU64, op::XOR, 0, Operand::Reg(9), 0);
        self.code.exit();
    }

    /// To another program, to this one again (33 times), or nowhere.
    fn tail_call(&mut self) {
        let index = self.scalar();
        self.code.mov(1, Operand::Reg(6));
        self.map(2, PROGRAMS);
        match self.rng.below(4) {
            0 => self.code.mov(3, Operand::Imm(0)),
            1 => self.code.mov(3, Operand::Imm(1)),
            2 => self.code.mov(3, Operand::Imm(2)),
            _ => self.code.mov(3, Operand::Reg(index)),
        }
        self.code.call(TAIL_CALL);
    }

    fn adjust(&mut self) {
        let result = self.scalar();
        self.code.mov(1, Operand::Reg(6));
        let by = self.rng.within(-24, 24) as i32;
        self.code.mov(2, Operand::Imm(by));
        let helper = self.rng.pick(&[ADJUST_HEAD, ADJUST_TAIL]);
        self.code.call(helper);
        self.code.mov(result, Operand::Reg(0));
    }

    /// A loop over the packet's bytes, as far as they go.
    fn sum(&mut self) {
        let (out, again) = (self.code.label(), self.code.label());
        let (sum, rounds) = (self.scalar(), self.rng.within(1, 30) as i32);
        self.bounds();
        self.code.mov(5, Operand::Imm(rounds));
        self.code.bind(again);
        self.room(1, out);
        self.code.load(op::MEM, op::B, 0, 2, 0);
        self.code.add(2, Operand::Imm(1));
        self.code.alu(op::ALU64, op::MUL, sum, Operand::Imm(31), 0);
        self.code.add(sum, Operand::Reg(0));
        self.code.add(5, Operand::Imm(-1));
        self.code
            .jump_if(op::JMP, op::JNE, 5, Operand::Imm(0), again);
        self.code.bind(out);
    }

    fn checksum(&mut self) {
        let (from, seed) = (self.scalar(), self.scalar());
        for slot in 1..=2 {
            self.code.store(op::DW, 10, -8 * slot, Operand::Reg(from));
        }
        self.code.mov(1, Operand::Reg(10));
        self.code.add(1, Operand::Imm(-16));
        self.code.mov(2, Operand::Imm(8));
        self.code.mov(3, Operand::Reg(10));
        self.code.add(3, Operand::Imm(-8));
        let len = self.rng.pick(&[0, 4, 8]);
        self.code.mov(4, Operand::Imm(len));
        self.code.alu(op::ALU, op::MOV, 5, Operand::Reg(seed), 0);
        self.code.call(CSUM_DIFF);
        self.code.mov(from, Operand::Reg(0));
    }

    fn branch(&mut self, depth: u32) {
        const CONDITIONS: [u8; 6] = [op::JEQ, op::JNE, op::JGT, op::JSLE, op::JSET, op::JSGT];
        let (otherwise, end) = (self.code.label(), self.code.label());
        let (reg, other) = (self.scalar(), self.scalar());
        let operand = match self.rng.one_in(2) {
            true => Operand::Reg(other),
            false => Operand::Imm(self.rng.imm()),
        };
        let class = self.rng.pick(&[op::JMP, op::JMP32]);
        let cond = self.rng.pick(&CONDITIONS);
        self.code.jump_if(class, cond, reg, operand, otherwise);
        self.fragment(depth);
        self.code.jump(self.rng.one_in(3), end);
        self.code.bind(otherwise);
        self.fragment(depth);
        self.code.bind(end);
    }

    fn arithmetic(&mut self) {
        const OPS: [u8; 9] = [
            op::ADD,
            op::SUB,
            op::MUL,
            op::OR,
            op::AND,
            op::XOR,
            op::MOV,
            op::DIV,
            op::MOD,
        ];
        for _ in 0..self.rng.within(1, 4) {
            let class = self.rng.pick(&[op::ALU, op::ALU64]);
            let (dst, src) = (self.scalar(), self.scalar());
            let (operation, imm) = (self.rng.pick(&OPS), self.rng.imm());
            let operand = match self.rng.one_in(2) {
                true => Operand::Reg(src),
                false => Operand::Imm(if imm == 0 { 3 } else { imm }),
            };
            let divides = [op::DIV, op::MOD].contains(&operation);
            let signed = i16::from(divides && self.rng.one_in(2));
            self.code.alu(class, operation, dst, operand, signed);
        }
    }
}
