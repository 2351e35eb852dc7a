//! Random programs that compute with numbers, for comparing engines.
#![allow(dead_code)]
use bpf_core::insn::{Insn, build::*, op};

/// xorshift*, so that a failure can be repeated from its seed.
pub struct Random(u64);

/// Registers that programs use; R10 stays the frame pointer.
const REGS: u8 = 10;
/// Words of stack that programs use.
const WORDS: i16 = 4;

impl Random {
    pub fn new(seed: u64) -> Self {
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        random.next();
        random
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, n: u64) -> u64 {
        (self.next() >> 32) % n
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as u64) as usize]
    }

    fn reg(&mut self) -> u8 {
        self.below(REGS.into()) as u8
    }

    /// Numbers near the ends of the ranges are likely.
    fn number(&mut self) -> u64 {
        let near = self.pick(&[0, 0x7f, 0x7fff, 0x7fff_ffff, 0xffff_ffff, i64::MAX as u64]);
        match self.below(4) {
            0 => self.next(),
            1 => self.next() as u32 as u64,
            _ => near.wrapping_add(self.below(5)).wrapping_sub(2),
        }
    }

    /// A program: registers and stack get numbers, `length` random instructions
    /// work on them, and R0 becomes a digest of all.
    pub fn program(&mut self, length: usize) -> Vec<Insn> {
        let mut prog = Vec::new();
        for word in 1..=WORDS {
            prog.extend(ld_imm64(0, self.number()));
            prog.push(stx(op::DW, 10, -8 * word, 0));
        }
        for reg in 0..REGS {
            prog.extend(ld_imm64(reg, self.number()));
        }
        prog.extend((0..length).map(|at| self.insn((length - at - 1) as u64)));
        for reg in 1..REGS {
            prog.extend([alu64_imm(op::MUL, 0, 31), alu64_reg(op::XOR, 0, reg)]);
        }
        for word in 1..=WORDS {
            prog.push(ldx(op::DW, 1, 10, -8 * word));
            prog.extend([alu64_imm(op::MUL, 0, 31), alu64_reg(op::XOR, 0, 1)]);
        }
        prog.push(exit());
        prog
    }

    /// One instruction, with `left` more to come that it may jump over.
    fn insn(&mut self, left: u64) -> Insn {
        loop {
            let insn = match self.below(8) {
                0 => self.jump(left),
                1 => self.memory(),
                2 => self.atomic(),
                _ => self.alu(),
            };
            if insn.decode(None).is_ok() {
                return insn;
            }
        }
    }

    fn alu(&mut self) -> Insn {
        let class = self.pick(&[op::ALU, op::ALU64]);
        let code = (self.below(14) as u8) << 4;
        let (dst, off) = (self.reg(), self.pick(&[0, 0, 0, 1, 8, 16, 32]));
        if code == op::END || code == op::NEG {
            let imm = self.pick(&[0, 16, 32, 64]);
            return Insn::new(class | code | self.pick(&[op::K, op::X]), dst, 0, 0, imm);
        }
        match self.below(2) {
            0 => Insn::new(class | code | op::X, dst, self.reg(), off, 0),
            _ => Insn::new(class | code, dst, 0, off, self.number() as i32),
        }
    }

    fn jump(&mut self, left: u64) -> Insn {
        let class = self.pick(&[op::JMP, op::JMP32]);
        let off = self.below(left.min(6) + 1) as i16;
        let code = match (1 + self.below(13) as u8) << 4 {
            op::CALL | op::EXIT => op::JEQ,
            code => code,
        };
        match self.below(2) {
            0 => Insn::new(class | code | op::X, self.reg(), self.reg(), off, 0),
            _ => Insn::new(class | code, self.reg(), 0, off, self.number() as i32),
        }
    }

    /// An aligned place on the stack.
    fn place(&mut self, size: u8) -> i16 {
        let word = -8 * (1 + self.below(WORDS as u64) as i16);
        let step = match size {
            op::B => 1,
            op::H => 2,
            op::W => 4,
            _ => 8,
        };
        word + step * self.below(8 / step as u64) as i16
    }

    fn memory(&mut self) -> Insn {
        let size = self.pick(&[op::B, op::H, op::W, op::DW]);
        let off = self.place(size);
        match self.below(4) {
            0 => ldx(size, self.reg(), 10, off),
            1 => ldsx(size, self.reg(), 10, off),
            2 => stx(size, 10, off, self.reg()),
            _ => st(size, 10, off, self.number() as i32),
        }
    }

    fn atomic(&mut self) -> Insn {
        let size = self.pick(&[op::W, op::DW]);
        let off = self.place(size);
        let plain = self.pick(&[op::ADD, op::OR, op::AND, op::XOR]).into();
        let imm = self.pick(&[plain, plain | op::FETCH, op::XCHG, op::CMPXCHG]);
        atomic(size, imm, 10, off, self.reg())
    }
}
