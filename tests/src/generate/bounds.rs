//! Programs for the verifier: every fragment is right but for an edge that is
//! sometimes missed by one, a check that is sometimes forgotten.
//!
//! Between fragments R6 holds the context and R7 to R9 hold numbers; R0 to R5
//! may hold anything. Checks that fail lead to a common exit.

use super::alu::CONDITIONS;
use super::code::{Code, Label, Operand};
use super::{Rng, Sample};
use bpf_core::insn::op;
use bpf_core::uapi::{ProgType, sk_buff, xdp_md};

pub(super) fn generate(rng: &mut Rng) -> Sample {
    let types = [ProgType::Xdp, ProgType::SchedCls, ProgType::SocketFilter];
    let prog_type = rng.pick(&types);
    let mut code = Code::default();
    let out = code.label();
    let mut b = Builder {
        code,
        rng,
        prog_type,
        out,
        functions: Vec::new(),
        callbacks: Vec::new(),
    };
    b.prologue();
    let fragments = b.rng.within(1, 6);
    for _ in 0..fragments {
        if b.code.len() < super::MAX_INSNS - 80 {
            b.fragment();
        }
    }
    b.epilogue();
    Sample {
        prog_type,
        insns: b.code.finish(),
    }
}

/// A program in the making, with what fragments need.
pub(super) struct Builder<'r> {
    pub code: Code,
    pub rng: &'r mut Rng,
    pub prog_type: ProgType,
    /// Where failed checks lead.
    pub out: Label,
    /// Functions called, to be written after the main program: entry, and how
    /// many levels of calls it may make.
    pub functions: Vec<(Label, u32)>,
    /// Functions that helpers call back.
    pub callbacks: Vec<Label>,
}

impl Builder<'_> {
    fn prologue(&mut self) {
        self.code.mov(6, Operand::Reg(1));
        for reg in 7..=9 {
            match self.rng.one_in(4) {
                true => self.code.mov(reg, Operand::Imm(self.rng.imm())),
                false => self.unknown(reg),
            }
        }
    }

    fn epilogue(&mut self) {
        self.code.mov(0, Operand::Imm(0));
        self.code.exit();
        if self.code.is_used(self.out) {
            self.code.bind(self.out);
            self.code.mov(0, Operand::Imm(1));
            self.code.exit();
        }
        while let Some((entry, levels)) = self.functions.pop() {
            self.function(entry, levels);
        }
        while let Some(entry) = self.callbacks.pop() {
            self.callback_function(entry);
        }
    }

    fn fragment(&mut self) {
        match self.rng.below(17) {
            0 => self.arithmetic(),
            1 => {
                let reg = self.scalar();
                self.check(reg);
            }
            2 | 3 => self.map_value(),
            4 | 5 => self.packet(),
            6 => self.stack_fixed(),
            7 => self.stack_variable(),
            8 => self.counted_loop(),
            9 => self.call_function(),
            10 => self.spill(),
            11 => self.diamond(),
            12..=15 => self.helper(),
            _ => self.direct_value(),
        }
    }

    /// One of the registers that hold numbers.
    pub fn scalar(&mut self) -> u8 {
        self.rng.within(7, 9) as u8
    }

    /// A number that the verifier can't know.
    pub fn unknown(&mut self, reg: u8) {
        let field = match self.prog_type {
            ProgType::Xdp => xdp_md::RX_QUEUE_INDEX,
            _ => self
                .rng
                .pick(&[sk_buff::LEN, sk_buff::HASH, sk_buff::PRIORITY]),
        };
        // Field or helper: 32 bits or 64.
        match self.rng.below(3) {
            0 => {
                self.code.call(if self.rng.one_in(2) { 5 } else { 7 });
                self.code.mov(reg, Operand::Reg(0));
            }
            _ if self.prog_type == ProgType::SocketFilter => {
                self.code.load(op::MEM, op::W, reg, 6, sk_buff::LEN as i16);
            }
            _ => self.code.load(op::MEM, op::W, reg, 6, field as i16),
        }
    }

    /// Arithmetic between the numbers.
    pub fn arithmetic(&mut self) {
        const OPS: [u8; 10] = [
            op::ADD,
            op::SUB,
            op::AND,
            op::OR,
            op::XOR,
            op::MUL,
            op::MOV,
            op::LSH,
            op::RSH,
            op::ARSH,
        ];
        for _ in 0..self.rng.within(1, 4) {
            let (dst, class) = (self.scalar(), self.rng.pick(&[op::ALU, op::ALU64]));
            let operation = self.rng.pick(&OPS);
            let small = self.rng.below(if class == op::ALU { 32 } else { 64 }) as i32;
            let operand = match operation {
                op::LSH | op::RSH | op::ARSH => Operand::Imm(small),
                _ if self.rng.one_in(3) => Operand::Reg(self.scalar()),
                _ if self.rng.one_in(2) => Operand::Imm(small),
                _ => Operand::Imm(self.rng.imm()),
            };
            match self.rng.below(12) {
                0 => self.code.alu(class, op::NEG, dst, Operand::Imm(0), 0),
                1 => self.extend(dst),
                2 => self.divide(class, dst, small),
                _ => self.code.alu(class, operation, dst, operand, 0),
            }
        }
    }

    fn extend(&mut self, dst: u8) {
        let src = Operand::Reg(self.scalar());
        let (class, bits) = self.rng.pick(&[
            (op::ALU64, 8),
            (op::ALU64, 16),
            (op::ALU64, 32),
            (op::ALU, 8),
            (op::ALU, 16),
            (op::ALU, 0),
        ]);
        self.code.alu(class, op::MOV, dst, src, bits);
    }

    fn divide(&mut self, class: u8, dst: u8, by: i32) {
        let operation = self.rng.pick(&[op::DIV, op::MOD]);
        let signed = self.rng.below(2) as i16;
        self.code
            .alu(class, operation, dst, Operand::Imm(by + 1), signed);
    }

    /// A comparison, one side of which leaves the program.
    pub fn check(&mut self, reg: u8) {
        let class = self.rng.pick(&[op::JMP, op::JMP32]);
        let cond = self.rng.pick(&CONDITIONS);
        let operand = match self.rng.below(4) {
            0 => Operand::Reg(self.scalar()),
            1 => Operand::Imm(self.rng.imm()),
            _ => Operand::Imm(self.rng.within(-8, 64) as i32),
        };
        self.code.jump_if(class, cond, reg, operand, self.out);
    }

    /// Brings a number into `0..=limit`, in one of the ways that compilers use
    /// (or nearly so).
    pub fn limit(&mut self, reg: u8, limit: i32) {
        let (out, imm) = (self.out, Operand::Imm(limit));
        let mask = Operand::Imm((limit + 2).unsigned_abs().next_power_of_two() as i32 / 2 - 1);
        let class = self.rng.pick(&[op::JMP, op::JMP32]);
        match self.rng.below(10) {
            0 | 1 => self.code.alu(op::ALU64, op::AND, reg, mask, 0),
            2 => self.code.alu(op::ALU, op::AND, reg, mask, 0),
            3 => self.code.jump_if(op::JMP, op::JGT, reg, imm, out),
            4 => {
                self.code.jump_if(class, op::JSGT, reg, imm, out);
                self.code
                    .jump_if(class, op::JSLT, reg, Operand::Imm(0), out);
            }
            5 => {
                self.code
                    .jump_if(op::JMP32, op::JGE, reg, Operand::Imm(limit + 1), out);
                self.code.alu(op::ALU, op::MOV, reg, Operand::Reg(reg), 0);
            }
            6 => {
                self.code.alu(op::ALU, op::MOV, reg, Operand::Reg(reg), 0);
                self.code.jump_if(class, op::JGT, reg, imm, out);
            }
            7 => {
                let bound = self.scalar();
                self.code.jump_if(op::JMP, op::JGT, bound, imm, out);
                self.code
                    .jump_if(op::JMP, op::JGT, reg, Operand::Reg(bound), out);
            }
            8 => {
                let bits = limit.unsigned_abs().leading_zeros() as i32 + 1;
                self.code
                    .alu(op::ALU, op::RSH, reg, Operand::Imm(bits & 31), 0);
            }
            _ => {
                self.code.jump_if(op::JMP32, op::JSGT, reg, imm, out);
                self.code.alu(op::ALU64, op::LSH, reg, Operand::Imm(32), 0);
                self.code.alu(op::ALU64, op::ARSH, reg, Operand::Imm(32), 0);
                self.code
                    .jump_if(op::JMP, op::JSLT, reg, Operand::Imm(0), out);
            }
        }
    }

    /// A size code and its bytes.
    pub fn size(&mut self) -> (u8, i32) {
        self.rng
            .pick(&[(op::B, 1), (op::H, 2), (op::W, 4), (op::DW, 8)])
    }

    /// A mistake of one in a bound, now and then.
    pub fn slip(&mut self) -> i32 {
        match self.rng.below(12) {
            0 => 1,
            1 => -1,
            _ => 0,
        }
    }

    /// Reads or writes `size` bytes through a pointer.
    pub fn access(&mut self, size: u8, ptr: u8, off: i16) {
        let value = self.scalar();
        match self.rng.below(5) {
            0 => self
                .code
                .store(size, ptr, off, Operand::Imm(self.rng.imm())),
            1 => self.code.store(size, ptr, off, Operand::Reg(value)),
            2 if size != op::DW => self.code.load(op::MEMSX, size, value, ptr, off),
            _ => self.code.load(op::MEM, size, value, ptr, off),
        }
    }
}
