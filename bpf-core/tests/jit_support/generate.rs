//! Random programs that are safe to run: every kind of instruction, all registers,
//! edge immediates, accesses inside one buffer, loops that end.

use bpf_core::insn::build::*;
use bpf_core::insn::{Insn, op};
use bpf_core::program::{Fact, Program, Subprog};

/// Bytes of the buffer to which R1 points.
pub const BUFFER: u64 = 512;
/// The handle of an array map whose elements lie at the buffer's start.
pub const ARRAY: u32 = 7;
/// Its geometry.
pub const ENTRIES: u32 = 8;
pub const STRIDE: u32 = 24;
/// A helper that answers the sum of its arguments.
pub const SUM: u32 = 1000;

/// xorshift64*.
pub struct Rng(u64);

impl Rng {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, n: u64) -> u64 {
        (self.next() >> 16) % n
    }

    fn of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len() as u64) as usize]
    }
}

/// R9 points to the buffer, R8 counts rounds; the others are data.
const DATA: u64 = 8;
const POINTER: u8 = 9;
const COUNTER: u8 = 8;

struct Generator<'a> {
    rng: &'a mut Rng,
    insns: Vec<Insn>,
    facts: Vec<(usize, Fact)>,
    /// Calls of the second function, to be resolved.
    calls: Vec<usize>,
    may_call: bool,
}

/// A random program with up to `size` items in each of its functions.
pub fn program(rng: &mut Rng, size: u64) -> Program {
    let with_function = rng.below(4) == 0;
    let mut g = Generator {
        rng,
        insns: Vec::new(),
        facts: Vec::new(),
        calls: Vec::new(),
        may_call: with_function,
    };
    g.function(size);
    let split = g.insns.len() as u32;
    let mut starts = vec![0];
    if with_function {
        g.may_call = false;
        g.function(size / 2 + 1);
        starts.push(split);
    }
    for &c in &g.calls {
        g.insns[c].imm = split as i32 - c as i32 - 1;
    }
    finish(g.insns, &g.facts, &starts)
}

fn finish(insns: Vec<Insn>, facts: &[(usize, Fact)], starts: &[u32]) -> Program {
    let mut all = vec![Fact::default(); insns.len()];
    for &(at, f) in facts {
        all[at] = f;
    }
    let ends = starts[1..].iter().copied().chain([insns.len() as u32]);
    let subprogs = starts.iter().zip(ends).map(|(&start, end)| Subprog {
        start,
        end,
        stack_depth: 64,
        ..Subprog::default()
    });
    Program {
        subprogs: subprogs.collect(),
        facts: all,
        origin: (0..insns.len() as u32).collect(),
        insns,
        maps: vec![ARRAY],
    }
}

impl Generator<'_> {
    fn push(&mut self, insn: Insn) {
        self.insns.push(insn);
    }

    fn wide(&mut self, pair: [Insn; 2]) {
        self.insns.extend(pair);
    }

    fn data(&mut self) -> u8 {
        self.rng.below(DATA) as u8
    }

    fn imm(&mut self) -> i32 {
        let edges = [
            0,
            1,
            -1,
            2,
            3,
            7,
            8,
            31,
            32,
            33,
            63,
            64,
            127,
            128,
            -128,
            -129,
            255,
            256,
            0xffff,
            i32::MAX,
            i32::MIN,
        ];
        match self.rng.below(3) {
            0 => self.rng.next() as i32,
            _ => self.rng.of(&edges),
        }
    }

    fn value(&mut self) -> u64 {
        match self.rng.below(3) {
            0 => self.rng.next(),
            1 => self.imm() as u64,
            _ => u64::from(self.imm() as u32) << self.rng.below(33),
        }
    }

    fn function(&mut self, size: u64) {
        self.push(mov64_reg(POINTER, 1));
        for r in 0..DATA as u8 {
            let v = self.value();
            if r != 2 {
                self.wide(ld_imm64(r, v));
            }
        }
        for slot in 1..=8 {
            let v = self.imm();
            self.push(st(op::DW, 10, -8 * slot, v));
        }
        let n = self.rng.below(size) + 1;
        for _ in 0..n {
            self.item();
        }
        self.digest();
        self.push(exit());
    }

    fn digest(&mut self) {
        for r in 1..DATA as u8 {
            self.push(alu64_imm(op::MUL, 0, 31));
            self.push(alu64_reg(op::ADD, 0, r));
        }
        for slot in 1..=8 {
            self.push(ldx(op::DW, 1, 10, -8 * slot));
            self.push(alu64_imm(op::MUL, 0, 31));
            self.push(alu64_reg(op::ADD, 0, 1));
        }
    }

    fn item(&mut self) {
        match self.rng.below(24) {
            0..8 => self.arithmetic(),
            8..10 => self.access(),
            10 => self.pointer_access(),
            11 => self.map_value_access(),
            12 => self.atomic_access(),
            13 | 14 => self.branch(),
            15 => self.round(),
            16 => self.helper(),
            17 => self.lookup(),
            18 => self.call(),
            19 => self.rotation(),
            20 => self.select(),
            21 => self.narrow(),
            22 => self.copy_and_change(),
            _ => {
                let (r, v) = (self.data(), self.value());
                self.wide(ld_imm64(r, v));
            }
        }
    }

    fn arithmetic(&mut self) {
        let insn = self.random_alu();
        self.push(insn);
    }

    fn random_alu(&mut self) -> Insn {
        let codes = [
            op::ADD,
            op::SUB,
            op::MUL,
            op::DIV,
            op::OR,
            op::AND,
            op::LSH,
            op::RSH,
            op::NEG,
            op::MOD,
            op::XOR,
            op::MOV,
            op::MOV,
            op::ARSH,
            op::END,
            op::ADD,
        ];
        let code = self.rng.of(&codes);
        let class = self.rng.of(&[op::ALU, op::ALU64]);
        let (dst, src) = (self.data(), self.data());
        let by_reg = self.rng.below(2) == 0;
        let imm = self.imm();
        let bits = if class == op::ALU64 { 64 } else { 32 };
        match code {
            op::NEG => Insn::new(class | code, dst, 0, 0, 0),
            op::END => {
                let source = if class == op::ALU && by_reg {
                    op::X
                } else {
                    op::K
                };
                Insn::new(class | code | source, dst, 0, 0, self.rng.of(&[16, 32, 64]))
            }
            op::LSH | op::RSH | op::ARSH if !by_reg => {
                Insn::new(class | code, dst, 0, 0, imm & (bits - 1))
            }
            op::DIV | op::MOD => {
                let off = self.rng.below(2) as i16;
                match by_reg {
                    true => Insn::new(class | code | op::X, dst, src, off, 0),
                    false => Insn::new(class | code, dst, 0, off, if imm == 0 { 10 } else { imm }),
                }
            }
            op::MOV if by_reg => {
                let offs: &[i16] = if class == op::ALU64 {
                    &[0, 0, 0, 8, 16, 32]
                } else {
                    &[0, 0, 8, 16]
                };
                Insn::new(class | code | op::X, dst, src, self.rng.of(offs), 0)
            }
            _ if by_reg => Insn::new(class | code | op::X, dst, src, 0, 0),
            _ => Insn::new(class | code, dst, 0, 0, imm),
        }
    }

    fn size(&mut self) -> (u8, i16) {
        self.rng
            .of(&[(op::B, 1), (op::H, 2), (op::W, 4), (op::DW, 8)])
    }

    fn access_at(&mut self, base: u8, low: i64, high: i64) {
        let (size, bytes) = self.size();
        let room = (high - low - i64::from(bytes) + 1) as u64;
        let off = (low + self.rng.below(room) as i64) as i16;
        let data = self.data();
        let imm = self.imm();
        let insn = match self.rng.below(4) {
            0 => ldx(size, data, base, off),
            1 if size != op::DW => ldsx(size, data, base, off),
            // Where the stack is differs between the two worlds.
            _ if data == base => st(size, base, off, imm),
            2 => st(size, base, off, imm),
            _ => stx(size, base, off, data),
        };
        self.push(insn);
    }

    fn access(&mut self) {
        if self.rng.below(2) == 0 {
            self.access_at(10, -64, 0);
        } else {
            self.access_at(POINTER, 0, BUFFER as i64);
        }
    }

    /// A pointer computed in one of the data registers, used a few times.
    fn pointer_access(&mut self) {
        let (r, by) = (self.data(), self.rng.below(200) as i32);
        let (base, low, high) = self.rng.of(&[(10, -64, 0), (POINTER, 0, BUFFER as i64)]);
        self.push(mov64_reg(r, base));
        let sign = if base == 10 { -1 } else { 1 };
        self.push(alu64_imm(op::ADD, r, sign * by));
        let moved = i64::from(sign * by);
        for _ in 0..=self.rng.below(2) {
            self.access_at(r, low - moved, high - moved);
            if self
                .insns
                .last()
                .is_some_and(|i| i.class() == op::LDX && i.dst == r)
            {
                break;
            }
            if self.rng.below(3) == 0 {
                self.arithmetic_on_other(r);
            }
        }
        let v = self.imm();
        self.push(mov64_imm(r, v));
    }

    fn arithmetic_on_other(&mut self, r: u8) {
        let insn = self.random_alu();
        if insn.dst != r && insn.src != r {
            self.push(insn);
        }
    }

    /// `p = &map_value + index`, in the order in which clang writes it.
    fn map_value_access(&mut self) {
        let (p, i) = (self.data(), self.data());
        if p == i {
            return;
        }
        self.push(alu64_imm(op::AND, i, 0x78));
        let off = self.rng.below(256) as u32;
        self.wide(ld_map_value(p, ARRAY, off));
        self.push(alu64_reg(op::ADD, p, i));
        for _ in 0..=self.rng.below(2) {
            self.access_at(p, -i64::from(off), 128);
            if self
                .insns
                .last()
                .is_some_and(|x| x.class() == op::LDX && (x.dst == p || x.dst == i))
            {
                break;
            }
        }
        let v = self.imm();
        self.push(mov64_imm(p, v));
    }

    fn atomic_access(&mut self) {
        let plain = [0x00, 0x40, 0x50, 0xa0];
        let imm = match self.rng.below(4) {
            0 => self.rng.of(&plain),
            1 => self.rng.of(&plain) | op::FETCH,
            2 => op::XCHG,
            _ => op::CMPXCHG,
        };
        let (size, bytes) = self.rng.of(&[(op::W, 4), (op::DW, 8)]);
        let src = self.data();
        let (base, off) = if self.rng.below(2) == 0 {
            (
                10,
                -(bytes * (1 + self.rng.below(64 / bytes as u64) as i16)),
            )
        } else {
            (
                POINTER,
                bytes * self.rng.below(BUFFER / bytes as u64) as i16,
            )
        };
        self.push(atomic(size, imm, base, off, src));
    }

    fn random_jump(&mut self, off: i16) -> Insn {
        let codes = [
            op::JEQ,
            op::JGT,
            op::JGE,
            op::JSET,
            op::JNE,
            op::JSGT,
            op::JSGE,
            op::JLT,
            op::JLE,
            op::JSLT,
            op::JSLE,
        ];
        let (code, class) = (self.rng.of(&codes), self.rng.of(&[op::JMP, op::JMP32]));
        let (dst, src, imm) = (self.data(), self.data(), self.imm());
        match self.rng.below(2) {
            0 => Insn::new(class | code | op::X, dst, src, off, 0),
            _ => Insn::new(class | code, dst, 0, off, imm),
        }
    }

    /// A conditional jump over a few items, or an unconditional one.
    fn branch(&mut self) {
        if self.rng.below(3) == 0 {
            // The jump behind it leads over what follows, or over this one, too.
            let over = self.random_jump(1);
            self.push(over);
        }
        let at = self.insns.len();
        let jump = match self.rng.below(8) {
            0 | 1 => ja(0),
            2 => ja32(0),
            _ => self.random_jump(0),
        };
        self.push(jump);
        for _ in 0..self.rng.below(4) {
            self.arithmetic();
        }
        let off = self.insns.len() - at - 1;
        if jump == ja32(0) {
            self.insns[at].imm = off as i32;
        } else {
            self.insns[at].off = off as i16;
        }
    }

    /// A loop of a few rounds.
    fn round(&mut self) {
        let rounds = self.rng.below(4) as i32 + 1;
        self.push(mov64_imm(COUNTER, rounds));
        if self.rng.below(3) == 0 {
            return self.round_tested_first();
        }
        let at = self.insns.len();
        self.body();
        self.push(alu64_imm(op::SUB, COUNTER, 1));
        let back = (at as i64 - self.insns.len() as i64 - 1) as i16;
        if self.rng.below(2) == 0 {
            self.push(jmp_imm(op::JNE, COUNTER, 0, back));
        } else {
            let out = self.rng.below(2) as i16 + 1;
            self.push(jmp_imm(op::JEQ, COUNTER, 0, out));
            self.push(ja(back - 1));
            self.arithmetic();
        }
    }

    fn body(&mut self) {
        for _ in 0..=self.rng.below(4) {
            match self.rng.below(5) {
                0 => self.access(),
                1 => self.branch(),
                2 => self.map_value_access(),
                3 => self.lookup(),
                _ => self.arithmetic(),
            }
        }
    }

    /// A short head that leaves the loop, or goes on with it, and a `goto` back to it.
    fn round_tested_first(&mut self) {
        let head = self.insns.len();
        for _ in 0..self.rng.below(3) {
            self.arithmetic();
        }
        self.push(alu64_imm(op::SUB, COUNTER, 1));
        if self.rng.below(2) == 0 {
            self.arithmetic();
        }
        let leave = self.insns.len();
        let stays = self.rng.below(2) == 0;
        if stays {
            // Over the `goto` that leaves.
            self.push(jmp_imm(op::JNE, COUNTER, 0, 1));
            self.push(ja(0));
        } else {
            let cond = [op::JEQ, op::JSLE, op::JLE][self.rng.below(3) as usize];
            self.push(jmp_imm(cond, COUNTER, 0, 0));
        }
        self.body();
        let back = head as i64 - self.insns.len() as i64 - 1;
        match self.rng.below(2) {
            0 => self.push(ja(back as i16)),
            _ => self.push(ja32(back as i32)),
        }
        let leave = leave + usize::from(stays);
        self.insns[leave].off = (self.insns.len() - leave - 1) as i16;
    }

    fn reload_arguments(&mut self) {
        for r in 1..6 {
            let v = self.imm();
            self.push(mov64_imm(r, v));
        }
    }

    fn helper(&mut self) {
        self.push(call(SUM));
        self.reload_arguments();
    }

    fn call(&mut self) {
        if self.may_call {
            self.push(mov64_reg(1, POINTER));
            self.calls.push(self.insns.len());
            self.push(call_local(0));
            self.reload_arguments();
        }
    }

    /// A lookup in the array map, key on the stack, null check, access.
    fn lookup(&mut self) {
        let key = self.data();
        let constant = self.rng.below(4) == 0;
        let k = self.rng.below(u64::from(ENTRIES) + 2) as u32;
        if constant {
            self.push(st(op::W, 10, -4, k as i32));
        } else {
            if self.rng.below(3) != 0 {
                let mask = self.rng.of(&[7, 15]);
                let narrow = self.rng.below(2) == 0;
                let and = if narrow { alu32_imm } else { alu64_imm };
                self.push(and(op::AND, key, mask));
            }
            self.push(stx(op::W, 10, -4, key));
        }
        self.push(mov64_reg(2, 10));
        self.push(alu64_imm(op::ADD, 2, -4));
        self.wide(ld_map(1, ARRAY));
        let fact = Fact {
            map: Some(ARRAY),
            key: constant.then_some(k),
        };
        self.facts.push((self.insns.len(), fact));
        self.push(call(1));
        let present = self.rng.below(2) == 0;
        let v = self.imm();
        if present {
            self.push(jmp_imm(op::JNE, 0, 0, 2));
            self.push(mov64_imm(0, v));
            self.push(ja(1));
        } else {
            self.push(jmp_imm(op::JEQ, 0, 0, 1));
        }
        self.push(ldx(op::DW, 0, 0, 8));
        self.reload_arguments();
    }

    fn rotation(&mut self) {
        let (a, b, src) = (self.data(), self.data(), self.data());
        let (class, bits) = self.rng.of(&[(op::ALU, 32), (op::ALU64, 64)]);
        let by = self.rng.below(bits) as i32;
        let combine = self.rng.of(&[op::OR, op::XOR, op::ADD]);
        let (first, second) = self.rng.of(&[(op::RSH, op::LSH), (op::LSH, op::RSH)]);
        let other = (bits as i32 - by) & (bits as i32 - 1);
        self.push(Insn::new(class | op::MOV | op::X, a, src, 0, 0));
        self.push(Insn::new(class | first, a, 0, 0, by));
        self.push(Insn::new(class | op::MOV | op::X, b, src, 0, 0));
        self.push(Insn::new(class | second, b, 0, 0, other));
        self.push(Insn::new(class | combine | op::X, b, a, 0, 0));
    }

    fn select(&mut self) {
        let (d, first) = (self.data(), self.rng.below(2) as i32);
        let class = self.rng.of(&[op::ALU, op::ALU64]);
        self.push(Insn::new(class | op::MOV, d, 0, 0, first));
        let jump = self.random_jump(1);
        self.push(jump);
        self.push(Insn::new(class | op::MOV, d, 0, 0, 1 - first));
    }

    fn narrow(&mut self) {
        let (d, s) = (self.data(), self.data());
        if self.rng.below(2) == 0 {
            self.push(mov64_reg(d, s));
        }
        self.push(alu64_imm(op::LSH, d, 32));
        let code = self.rng.of(&[op::RSH, op::RSH, op::ARSH]);
        self.push(alu64_imm(code, d, 32));
    }

    fn copy_and_change(&mut self) {
        let (d, s) = (self.data(), self.data());
        let class = self.rng.of(&[op::ALU, op::ALU64]);
        self.push(Insn::new(class | op::MOV | op::X, d, s, 0, 0));
        for _ in 0..2 {
            let mut insn = self.random_alu();
            insn.dst = d;
            self.push(insn);
        }
    }
}
