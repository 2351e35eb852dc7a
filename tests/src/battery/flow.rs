//! Where control goes: jumps of every length, in order and out of it.

use super::Line;
use crate::generate::{Code, Label, Operand};
use bpf_core::insn::op;

pub fn lines() -> Vec<Line> {
    let mut out = Vec::new();
    for kind in [Kind::Near, Kind::Far, Kind::Equal, Kind::Register] {
        for steps in [1usize, 10, 100, 1000, 4000] {
            out.push(staggered(kind, steps));
        }
    }
    for len in (20..60).chain([125, 126, 127, 128, 129, 1000, 32_000]) {
        out.push(over(len, false));
        out.push(over(len, true));
    }
    out.push(very_long(32_767));
    out.push(around());
    out.push(may_goto());
    out
}

/// How a staggered jump is made.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Near,
    Far,
    Equal,
    Register,
}

impl Kind {
    /// A jump that is always taken where R1 is `step`.
    fn emit(self, code: &mut Code, step: usize, to: Label) {
        let imm = Operand::Imm(step as i32);
        match self {
            Self::Near => code.jump(false, to),
            Self::Far => code.jump(true, to),
            Self::Equal => code.jump_if(op::JMP, op::JEQ, 1, imm, to),
            Self::Register => {
                code.alu(op::ALU, op::MOV, 2, imm, 0);
                code.jump_if(op::JMP32, op::JGE, 1, Operand::Reg(2), to);
            }
        }
    }
}

/// Blocks that are visited from the middle outwards: each jump is longer than
/// the one before and leads to the other side.
fn staggered(kind: Kind, steps: usize) -> Line {
    let mut code = Code::default();
    let blocks: Vec<Label> = (0..=steps).map(|_| code.label()).collect();
    let failed = code.label();
    code.mov(1, Operand::Imm(0));
    code.jump(true, blocks[0]);
    let order = (1..steps).rev().filter(|i| i % 2 == 1);
    let order: Vec<usize> = order.chain((0..steps).filter(|i| i % 2 == 0)).collect();
    for step in order {
        code.bind(blocks[step]);
        let imm = Operand::Imm(step as i32);
        code.jump_if(op::JMP, op::JNE, 1, imm, failed);
        code.alu(op::ALU64, op::MOV, 1, Operand::Imm(step as i32 + 1), 0);
        kind.emit(&mut code, step + 1, blocks[step + 1]);
        if matches!(kind, Kind::Equal | Kind::Register) {
            code.jump(true, failed);
        }
    }
    code.bind(blocks[steps]);
    code.alu(op::ALU, op::MOV, 0, Operand::Reg(1), 0);
    code.exit();
    code.bind(failed);
    code.mov(0, Operand::Imm(-1));
    code.exit();
    Line::new(format!("staggered jumps, {kind:?}, {steps}"), code.finish())
}

/// A jump over `len` instructions of live code, and back over them.
fn over(len: usize, wide: bool) -> Line {
    let mut code = Code::default();
    let (first, second, end) = (code.label(), code.label(), code.label());
    code.load(op::MEM, op::W, 6, 1, 0);
    code.mov(0, Operand::Imm(1));
    code.mov(3, Operand::Imm(0));
    code.bind(first);
    code.jump_if(op::JMP, op::JEQ, 6, Operand::Imm(64), second);
    for at in 0..len {
        match wide && at % 5 == 0 {
            true => code.alu(op::ALU64, op::XOR, 0, Operand::Imm(0x1234_5678), 0),
            false => code.alu(op::ALU64, op::ADD, 0, Operand::Reg(6), 0),
        }
    }
    code.jump(true, end);
    code.bind(second);
    code.add(6, Operand::Imm(1));
    code.add(3, Operand::Imm(1));
    code.jump_if(op::JMP, op::JLT, 3, Operand::Imm(5), first);
    code.bind(end);
    code.exit();
    Line {
        packets: vec![super::packet(64), super::packet(80)],
        ..Line::new(format!("jump over {len}, wide {wide}"), code.finish())
    }
}

/// The longest displacement of a 16-bit jump, and one more of a 32-bit one.
fn very_long(len: usize) -> Line {
    let mut code = Code::default();
    let (near, far) = (code.label(), code.label());
    code.load(op::MEM, op::W, 6, 1, 0);
    code.mov(0, Operand::Imm(2));
    code.jump_if(op::JMP, op::JEQ, 6, Operand::Imm(65), far);
    code.jump_if(op::JMP, op::JEQ, 6, Operand::Imm(64), near);
    for _ in 0..len - 1 {
        code.add(0, Operand::Reg(6));
    }
    code.bind(far);
    code.add(0, Operand::Reg(6));
    code.bind(near);
    code.exit();
    Line {
        packets: [64, 65, 66].map(super::packet).to_vec(),
        ..Line::new(format!("jumps over {len}"), code.finish())
    }
}

/// Forward, back, forward again: nothing is dead.
fn around() -> Line {
    let mut code = Code::default();
    let (a, b, c) = (code.label(), code.label(), code.label());
    code.mov(0, Operand::Imm(1));
    code.jump(false, b);
    code.bind(a);
    code.alu(op::ALU64, op::LSH, 0, Operand::Imm(2), 0);
    code.jump(false, c);
    code.bind(b);
    code.add(0, Operand::Imm(5));
    code.jump(true, a);
    code.bind(c);
    code.alu(op::ALU64, op::XOR, 0, Operand::Imm(0x50), 0);
    code.exit();
    Line::new("jump around", code.finish())
}

/// A loop that ends itself before `may_goto` would.
fn may_goto() -> Line {
    let mut code = Code::default();
    let (again, end) = (code.label(), code.label());
    code.load(op::MEM, op::W, 6, 1, 0);
    code.mov(0, Operand::Imm(0));
    code.bind(again);
    code.jump_if(op::JMP, op::JCOND, 0, Operand::Imm(0), end);
    code.add(0, Operand::Imm(3));
    code.add(6, Operand::Imm(-1));
    code.jump_if(op::JMP, op::JNE, 6, Operand::Imm(0), again);
    code.bind(end);
    code.exit();
    Line::new("may_goto", code.finish())
}
