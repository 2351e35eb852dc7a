//! Random arithmetic on four unknown numbers, and the walk of our domain along
//! the path on which no comparison holds.

use bpf_core::insn::{Insn, op};
use bpf_core::verifier::domain::{AluOp, CmpOp, Scalar, Swap, Width};
use bpfvisor_tests::generate::{Code, Operand, Rng};
use std::fmt;

const FIRST: u8 = 6;

/// Registers 6 to 9 start unknown; copies are avoided, because the kernel ties
/// equal registers together and the domain alone doesn't.
pub fn program(rng: &mut Rng) -> Vec<Insn> {
    let mut code = Code::default();
    let out = code.label();
    for reg in FIRST..=9 {
        code.call(5);
        code.mov(reg, Operand::Reg(0));
    }
    code.mov(0, Operand::Imm(0));
    code.jump_if(op::JMP, op::JEQ, 6, Operand::Imm(0x1234567), out);
    for _ in 0..rng.within(5, 40) {
        match rng.below(3) {
            0 => {
                let class = rng.pick(&[op::JMP, op::JMP32]);
                let cond = rng.pick(&COMPARISONS).0;
                let (reg, operand) = operands(rng);
                code.jump_if(class, cond, reg, operand, out);
            }
            _ => arithmetic(rng, &mut code),
        }
    }
    code.bind(out);
    code.exit();
    code.finish()
}

/// A register, and another one or a number.
fn operands(rng: &mut Rng) -> (u8, Operand) {
    let reg = rng.within(6, 9) as u8;
    let other = FIRST + (reg - FIRST + rng.within(1, 3) as u8) % 4;
    match rng.one_in(3) {
        true => (reg, Operand::Reg(other)),
        false => (reg, Operand::Imm(rng.imm())),
    }
}

fn arithmetic(rng: &mut Rng, code: &mut Code) {
    let class = rng.pick(&[op::ALU, op::ALU64]);
    let (reg, operand) = operands(rng);
    let (operation, _) = rng.pick(&OPERATIONS);
    let width = if class == op::ALU { 32 } else { 64 };
    match (operation, operand) {
        _ if rng.one_in(10) => {
            let bits = rng.pick(&[8, 16, if class == op::ALU { 0 } else { 32 }]);
            code.alu(class, op::MOV, reg, Operand::Reg(reg), bits);
        }
        _ if rng.one_in(20) => code.alu(class, op::NEG, reg, Operand::Imm(0), 0),
        _ if rng.one_in(20) => code.raw(0xd4, reg, 0, 0, rng.pick(&[16, 32, 64])),
        (op::LSH | op::RSH | op::ARSH, Operand::Imm(v)) => {
            code.alu(class, operation, reg, Operand::Imm(v.rem_euclid(width)), 0);
        }
        (op::DIV | op::MOD, Operand::Imm(0)) => {}
        (op::DIV | op::MOD, _) => {
            code.alu(class, operation, reg, operand, rng.below(2) as i16);
        }
        (op::MOV, Operand::Reg(_)) => {}
        _ => code.alu(class, operation, reg, operand, 0),
    }
}

const OPERATIONS: [(u8, AluOp); 12] = [
    (op::ADD, AluOp::Add),
    (op::SUB, AluOp::Sub),
    (op::MUL, AluOp::Mul),
    (op::OR, AluOp::Or),
    (op::AND, AluOp::And),
    (op::XOR, AluOp::Xor),
    (op::LSH, AluOp::Lsh),
    (op::RSH, AluOp::Rsh),
    (op::ARSH, AluOp::Arsh),
    (op::MOV, AluOp::Mov),
    (op::DIV, AluOp::Div),
    (op::MOD, AluOp::Mod),
];

const COMPARISONS: [(u8, CmpOp); 11] = [
    (op::JEQ, CmpOp::Eq),
    (op::JNE, CmpOp::Ne),
    (op::JGT, CmpOp::Gt),
    (op::JGE, CmpOp::Ge),
    (op::JLT, CmpOp::Lt),
    (op::JLE, CmpOp::Le),
    (op::JSET, CmpOp::Set),
    (op::JSGT, CmpOp::Sgt),
    (op::JSGE, CmpOp::Sge),
    (op::JSLT, CmpOp::Slt),
    (op::JSLE, CmpOp::Sle),
];

/// Where the walk is and what it knows.
#[derive(Clone)]
pub struct Path {
    pub at: usize,
    regs: [Scalar; 4],
    dead_end: bool,
}

impl Path {
    pub fn new() -> Self {
        Self {
            at: 0,
            regs: [Scalar::UNKNOWN; 4],
            dead_end: false,
        }
    }

    /// Whether it is over, or can't go on where the kernel goes on.
    pub fn ended(&self, insns: &[Insn]) -> bool {
        self.dead_end || insns[self.at].opcode == op::JMP | op::EXIT
    }

    pub fn reg(&self, reg: u8) -> Option<Scalar> {
        self.regs
            .get(usize::from(reg).checked_sub(FIRST.into())?)
            .copied()
            .filter(|_| !self.dead_end)
    }

    pub fn step(&mut self, insns: &[Insn]) {
        let insn = insns[self.at];
        self.at += 1;
        match insn.class() {
            op::JMP | op::JMP32 if insn.opcode & 0xf0 == op::CALL => {}
            op::JMP | op::JMP32 => self.jump(insn),
            _ if insn.dst < FIRST || insn.src == 0 && insn.opcode == 0xbf => {}
            _ => self.compute(insn),
        }
    }

    fn source(&self, insn: Insn) -> Scalar {
        match insn.opcode & op::X {
            0 => Scalar::constant(insn.imm as u64),
            _ => self.reg(insn.src).unwrap(),
        }
    }

    fn compute(&mut self, insn: Insn) {
        let (mut dst, width) = (self.reg(insn.dst).unwrap(), width(insn));
        let operation = insn.opcode & 0xf0;
        // The kernel follows the ones first.
        let is_mask = matches!(operation, op::AND | op::OR)
            && (insn.opcode & op::X == 0 || self.source(insn).as_const().is_some());
        if let (true, Some((ones, _))) = (is_mask, dst.split_mask()) {
            dst = ones;
        }
        let result = match (operation, insn.off) {
            (op::NEG, _) => dst.neg(width),
            (op::END, _) => dst.byte_swap(Swap::Le, insn.imm as u32),
            (op::MOV, bits @ 8..) => dst.sign_extend(bits as u32, width),
            (op::DIV, 1) => Scalar::alu(AluOp::Sdiv, width, &dst, &self.source(insn)),
            (op::MOD, 1) => Scalar::alu(AluOp::Smod, width, &dst, &self.source(insn)),
            _ => {
                let (_, alu) = OPERATIONS
                    .iter()
                    .find(|(code, _)| *code == operation)
                    .unwrap();
                Scalar::alu(*alu, width, &dst, &self.source(insn))
            }
        };
        self.regs[usize::from(insn.dst - FIRST)] = result;
    }

    fn jump(&mut self, insn: Insn) {
        let (_, cmp) = COMPARISONS
            .iter()
            .find(|(code, _)| *code == insn.opcode & 0xf0)
            .unwrap();
        let (a, b) = (self.reg(insn.dst).unwrap(), self.source(insn));
        match Scalar::branch_outcome(*cmp, width(insn), &a, &b) {
            Some(true) => self.dead_end = true,
            Some(false) => {}
            None => {
                let (a, b) = Scalar::refine_branch(*cmp, width(insn), &a, &b, false);
                self.regs[usize::from(insn.dst - FIRST)] = a;
                if insn.opcode & op::X != 0 {
                    self.regs[usize::from(insn.src - FIRST)] = b;
                }
            }
        }
    }
}

fn width(insn: Insn) -> Width {
    match insn.class() {
        op::ALU | op::JMP32 => Width::W32,
        _ => Width::W64,
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, reg) in self.regs.iter().enumerate() {
            write!(f, "r{}={reg} ", at + 6)?;
        }
        Ok(())
    }
}
