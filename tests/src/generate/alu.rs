//! Programs over numbers: valid by construction. Every register holds a number
//! and the first [`STACK`] bytes of the stack are initialised, so that any
//! operation may follow any other. At the end all state is folded into R0.
//!
//! Functions and callbacks work on numbers too, and on a piece of their caller's
//! stack through a pointer (`calls`).

mod calls;

use super::code::{Code, Label, Operand};
use super::{Rng, Sample};
use bpf_core::insn::op;
use bpf_core::uapi::ProgType;

/// Bytes of stack in use.
const STACK: i64 = 64;
/// Counts the iterations of loops; nothing else writes it.
const COUNTER: u8 = 9;

pub(super) fn generate(rng: &mut Rng) -> Sample {
    let mut gen_ = Gen {
        code: Code::default(),
        rng,
        place: Place::STACK,
        functions: Vec::new(),
    };
    gen_.prologue();
    let steps = gen_.rng.within(4, 40);
    for _ in 0..steps {
        gen_.statement(2);
    }
    gen_.epilogue();
    gen_.write_functions();
    Sample {
        prog_type: ProgType::Xdp,
        insns: gen_.code.finish(),
    }
}

struct Gen<'r> {
    code: Code,
    rng: &'r mut Rng,
    /// What is loaded and stored.
    place: Place,
    /// Functions called, to be written after the main program.
    functions: Vec<(Label, calls::Role)>,
}

/// Memory that holds numbers, and the registers that do while it is in use.
#[derive(Clone, Copy)]
struct Place {
    base: u8,
    /// Offset from the base, and bytes.
    low: i64,
    room: i64,
    regs: &'static [u8],
}

impl Place {
    const STACK: Self = Self {
        base: 10,
        low: -STACK,
        room: STACK,
        regs: &[0, 1, 2, 3, 4, 5, 6, 7, 8],
    };
}

impl Gen<'_> {
    fn prologue(&mut self) {
        for reg in 0..=COUNTER {
            match self.rng.below(3) {
                0 => self.code.mov(reg, Operand::Imm(self.rng.imm())),
                _ => self.code.number(reg, self.rng.number()),
            }
        }
        for slot in 1..=STACK / 8 {
            let reg = self.reg();
            self.code
                .store(op::DW, 10, (-8 * slot) as i16, Operand::Reg(reg));
        }
    }

    /// Folds registers and stack into R0, so that any difference shows.
    fn epilogue(&mut self) {
        for reg in 1..COUNTER {
            self.fold(reg);
        }
        for slot in 1..=STACK / 8 {
            self.code.load(op::MEM, op::DW, 1, 10, (-8 * slot) as i16);
            self.fold(1);
        }
        self.code.mov(1, Operand::Reg(0));
        self.code.alu(op::ALU64, op::RSH, 1, Operand::Imm(32), 0);
        self.code.alu(op::ALU64, op::XOR, 0, Operand::Reg(1), 0);
        self.code.exit();
    }

    fn fold(&mut self, reg: u8) {
        self.code
            .alu(op::ALU64, op::MUL, 0, Operand::Imm(0x0100_0193), 0);
        self.code.alu(op::ALU64, op::XOR, 0, Operand::Reg(reg), 0);
    }

    /// A register that may be written.
    fn reg(&mut self) -> u8 {
        self.rng.pick(self.place.regs)
    }

    /// A register or an immediate.
    fn operand(&mut self) -> Operand {
        match self.rng.one_in(2) {
            true => Operand::Reg(self.reg()),
            false => Operand::Imm(self.rng.imm()),
        }
    }

    fn class(&mut self) -> u8 {
        self.rng.pick(&[op::ALU, op::ALU64])
    }

    fn statement(&mut self, depth: u32) {
        // Leaves room for the epilogue and the functions.
        let rest = 60 + calls::LENGTH * self.functions.len();
        if self.code.len() > super::MAX_INSNS - rest {
            return;
        }
        match self.rng.below(18) {
            0..=6 => self.arithmetic(),
            7 => self.byte_order(),
            8 => self.sign_extension(),
            9 => self.shift(),
            10 | 11 => self.memory(),
            12 => self.atomic(),
            13 | 14 if depth > 0 => self.branch(depth - 1),
            15 if depth == 2 => self.repeat(),
            16 | 17 if depth > 0 => self.detour(),
            _ => self.division(),
        }
    }

    fn arithmetic(&mut self) {
        const OPS: [u8; 7] = [op::ADD, op::SUB, op::MUL, op::OR, op::AND, op::XOR, op::MOV];
        let (class, dst) = (self.class(), self.reg());
        if self.rng.one_in(10) {
            return self.code.alu(class, op::NEG, dst, Operand::Imm(0), 0);
        }
        let (operation, operand) = (self.rng.pick(&OPS), self.operand());
        self.code.alu(class, operation, dst, operand, 0);
    }

    fn division(&mut self) {
        let (class, dst) = (self.class(), self.reg());
        let operation = self.rng.pick(&[op::DIV, op::MOD]);
        let operand = match self.operand() {
            Operand::Imm(0) => Operand::Imm(-1),
            other => other,
        };
        let signed = self.rng.below(2) as i16;
        self.code.alu(class, operation, dst, operand, signed);
    }

    fn shift(&mut self) {
        let (class, dst) = (self.class(), self.reg());
        let operation = self.rng.pick(&[op::LSH, op::RSH, op::ARSH]);
        let width = if class == op::ALU { 32 } else { 64 };
        let operand = match self.operand() {
            Operand::Imm(v) => Operand::Imm(v.rem_euclid(width)),
            reg => reg,
        };
        self.code.alu(class, operation, dst, operand, 0);
    }

    fn byte_order(&mut self) {
        let (dst, bits) = (self.reg(), self.rng.pick(&[16, 32, 64]));
        let opcode = self.rng.pick(&[
            op::ALU | op::END | op::K,
            op::ALU | op::END | op::X,
            op::ALU64 | op::END,
        ]);
        self.code.raw(opcode, dst, 0, 0, bits);
    }

    fn sign_extension(&mut self) {
        let (dst, src) = (self.reg(), self.reg());
        let (class, bits) = self.rng.pick(&[
            (op::ALU64, 8),
            (op::ALU64, 16),
            (op::ALU64, 32),
            (op::ALU, 8),
            (op::ALU, 16),
        ]);
        self.code.alu(class, op::MOV, dst, Operand::Reg(src), bits);
    }

    /// An aligned place in the memory in use, for `size` bytes.
    fn place(&mut self, size: i64) -> i16 {
        let nr = self.rng.within(0, self.place.room / size - 1);
        (self.place.low + size * nr) as i16
    }

    fn size(&mut self) -> (u8, i64) {
        self.rng
            .pick(&[(op::B, 1), (op::H, 2), (op::W, 4), (op::DW, 8)])
    }

    fn memory(&mut self) {
        let ((code, size), reg) = (self.size(), self.reg());
        let at = self.place(size);
        match self.rng.below(4) {
            0 => {
                let value = self.operand();
                self.code.store(code, self.place.base, at, value);
            }
            1 if size < 8 => self.code.load(op::MEMSX, code, reg, self.place.base, at),
            2 => self
                .code
                .store(code, self.place.base, at, Operand::Reg(reg)),
            _ => self.code.load(op::MEM, code, reg, self.place.base, at),
        }
    }

    /// A load that acquires or a store that releases.
    fn ordered(&mut self) {
        let ((code, size), reg) = (self.size(), self.reg());
        let at = self.place(size);
        let (opcode, base) = (op::STX | op::ATOMIC | code, self.place.base);
        match self.rng.one_in(2) {
            true => self.code.raw(opcode, reg, base, at, op::LOAD_ACQ),
            false => self.code.raw(opcode, base, reg, at, op::STORE_REL),
        }
    }

    fn atomic(&mut self) {
        if self.rng.one_in(4) {
            return self.ordered();
        }
        let (code, size) = self.rng.pick(&[(op::W, 4), (op::DW, 8)]);
        let (at, src) = (self.place(size), self.reg());
        let plain = [op::ADD, op::OR, op::AND, op::XOR];
        let imm = match self.rng.below(4) {
            0 => op::XCHG,
            1 => op::CMPXCHG,
            2 => self.rng.pick(&plain) as i32 | op::FETCH,
            _ => self.rng.pick(&plain) as i32,
        };
        let base = self.place.base;
        self.code
            .raw(op::STX | op::ATOMIC | code, base, src, at, imm);
        if imm == op::CMPXCHG && code == op::W {
            // Linux 6.18 on x86-64 can leave the upper half of R0 as it was: it
            // adds the zero-extension only where it saw a 64-bit use, and misses
            // one behind a pruned path. Not a difference to be found here.
            self.code.alu(op::ALU, op::MOV, 0, Operand::Reg(0), 0);
        }
    }

    fn branch(&mut self, depth: u32) {
        let (otherwise, end) = (self.code.label(), self.code.label());
        let (reg, operand) = (self.reg(), self.operand());
        let cond = self.rng.pick(&CONDITIONS);
        let class = self.rng.pick(&[op::JMP, op::JMP32]);
        self.code.jump_if(class, cond, reg, operand, otherwise);
        self.block(depth);
        if self.rng.one_in(2) {
            self.code.jump(self.rng.one_in(3), end);
            self.code.bind(otherwise);
            self.block(depth);
        } else {
            self.code.bind(otherwise);
        }
        self.code.bind(end);
    }

    fn block(&mut self, depth: u32) {
        for _ in 0..self.rng.within(1, 4) {
            self.statement(depth);
        }
    }

    fn repeat(&mut self) {
        let rounds = self.rng.within(1, 6) as i32;
        self.code.mov(COUNTER, Operand::Imm(rounds));
        let (again, end) = (self.code.label(), self.code.label());
        self.code.bind(again);
        if self.rng.one_in(3) {
            // The head leaves, a `goto` leads back to it.
            self.arithmetic();
            self.code.add(COUNTER, Operand::Imm(-1));
            self.code
                .jump_if(op::JMP, op::JEQ, COUNTER, Operand::Imm(0), end);
            self.block(0);
            self.code.jump(self.rng.one_in(3), again);
            return self.code.bind(end);
        }
        if self.rng.one_in(3) {
            // Never used up in so few rounds.
            self.code
                .jump_if(op::JMP, op::JCOND, 0, Operand::Imm(0), end);
        }
        self.block(0);
        self.code.add(COUNTER, Operand::Imm(-1));
        self.code
            .jump_if(op::JMP, op::JNE, COUNTER, Operand::Imm(0), again);
        self.code.bind(end);
    }
}

/// All conditional jumps.
pub const CONDITIONS: [u8; 11] = [
    op::JEQ,
    op::JNE,
    op::JGT,
    op::JGE,
    op::JLT,
    op::JLE,
    op::JSET,
    op::JSGT,
    op::JSGE,
    op::JSLT,
    op::JSLE,
];
