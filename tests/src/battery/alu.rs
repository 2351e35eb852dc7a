//! Arithmetic: every operation and width over edge numbers, immediates, shift
//! counts and pairs of registers.

use super::Line;
use super::fold::{Fold, From, IMMEDIATES, NUMBERS};
use crate::generate::Operand;
use bpf_core::insn::op;

/// Operations of two operands: name, code, offset field.
const BINARY: [(&str, u8, i16); 15] = [
    ("add", op::ADD, 0),
    ("sub", op::SUB, 0),
    ("mul", op::MUL, 0),
    ("div", op::DIV, 0),
    ("sdiv", op::DIV, 1),
    ("mod", op::MOD, 0),
    ("smod", op::MOD, 1),
    ("or", op::OR, 0),
    ("and", op::AND, 0),
    ("xor", op::XOR, 0),
    ("mov", op::MOV, 0),
    ("lsh", op::LSH, 0),
    ("rsh", op::RSH, 0),
    ("arsh", op::ARSH, 0),
    ("movsx", op::MOV, 8),
];

const CLASSES: [(&str, u8); 2] = [("32", op::ALU), ("64", op::ALU64)];

pub fn lines() -> Vec<Line> {
    let mut out = Vec::new();
    for from in From::ALL {
        for (width, class) in CLASSES {
            for operation in BINARY {
                let name = format!("alu{width} {}", operation.0);
                out.push(registers(&name, from, class, operation));
                out.push(pairs(&name, from, class, operation));
                if operation.2 < 8 {
                    out.push(immediates(&name, from, class, operation));
                }
            }
            out.push(sign_extensions(width, from, class));
        }
        out.push(unary(from));
        out.extend(wide_constants(from));
    }
    out
}

fn is_shift(code: u8) -> bool {
    matches!(code, op::LSH | op::RSH | op::ARSH)
}

/// All pairs of edge numbers.
fn registers(name: &str, from: From, class: u8, (_, code, off): (&str, u8, i16)) -> Line {
    let mut fold = Fold::new(from);
    for a in 0..NUMBERS.len() {
        for b in 0..NUMBERS.len() {
            fold.number(3, a);
            fold.number(4, b);
            fold.code.alu(class, code, 3, Operand::Reg(4), off);
            fold.take(3);
        }
    }
    fold.finish(format!("{name}: edge numbers"))
}

/// All edge numbers with all immediates, or all shift counts.
fn immediates(name: &str, from: From, class: u8, (_, code, off): (&str, u8, i16)) -> Line {
    let width = if class == op::ALU { 32 } else { 64 };
    let list: Vec<i32> = match code {
        code if is_shift(code) => (0..width).collect(),
        op::DIV | op::MOD => IMMEDIATES.into_iter().filter(|&v| v != 0).collect(),
        _ => IMMEDIATES.to_vec(),
    };
    let mut fold = Fold::new(from);
    for a in 0..NUMBERS.len() {
        for &imm in &list {
            fold.number(3, a);
            fold.code.alu(class, code, 3, Operand::Imm(imm), off);
            fold.take(3);
        }
    }
    fold.finish(format!("{name}: immediates"))
}

/// All pairs of registers, the same one twice among them.
fn pairs(name: &str, from: From, class: u8, (_, code, off): (&str, u8, i16)) -> Line {
    let mut fold = Fold::new(from);
    for dst in 0..10u8 {
        for src in 0..10u8 {
            fold.number(dst, usize::from(dst) + 12);
            fold.number(src, usize::from(src) + 2);
            fold.code.alu(class, code, dst, Operand::Reg(src), off);
            // The source must still be what it was.
            fold.code.store(op::DW, 10, Fold::FREE, Operand::Reg(src));
            fold.take(dst);
            fold.code.load(op::MEM, op::DW, 3, 10, Fold::FREE);
            fold.take(3);
        }
    }
    fold.finish(format!("{name}: pairs of registers"))
}

fn sign_extensions(width: &str, from: From, class: u8) -> Line {
    let bits: &[i16] = if class == op::ALU {
        &[8, 16]
    } else {
        &[8, 16, 32]
    };
    let mut fold = Fold::new(from);
    for &bits in bits {
        for (a, dst) in (0..NUMBERS.len()).zip((3..10).cycle()) {
            fold.number(4, a);
            fold.code.alu(class, op::MOV, dst, Operand::Reg(4), bits);
            fold.take(dst);
        }
    }
    fold.finish(format!("alu{width} movsx: every width"))
}

/// Negation and byte order, into every register.
fn unary(from: From) -> Line {
    let mut fold = Fold::new(from);
    let swaps = [
        op::ALU | op::END,
        op::ALU | op::END | op::X,
        op::ALU64 | op::END,
    ];
    for a in 0..NUMBERS.len() {
        for reg in 0..10 {
            for class in [op::ALU, op::ALU64] {
                fold.number(reg, a);
                fold.code.alu(class, op::NEG, reg, Operand::Imm(0), 0);
                fold.take(reg);
            }
        }
        for (swap, reg) in swaps.into_iter().cycle().take(30).zip((0..10).cycle()) {
            for bits in [16, 32, 64] {
                fold.number(reg, a);
                fold.code.raw(swap, reg, 0, 0, bits);
                fold.take(reg);
            }
        }
    }
    fold.finish("neg, be, le and bswap: edge numbers")
}

/// 64-bit immediates around every power of two, in each sign.
fn wide_constants(from: From) -> Vec<Line> {
    if from == From::Memory {
        return Vec::new();
    }
    let line = |reg: u8| {
        let mut fold = Fold::new(from);
        for bit in 0..64 {
            for near in [-1i64, 0, 1] {
                for sign in [1u64, u64::MAX] {
                    let n = (1u64 << bit).wrapping_add(near as u64).wrapping_mul(sign);
                    fold.code.number(reg, n);
                    fold.take(reg);
                }
            }
        }
        fold.finish(format!("64-bit immediates in r{reg}"))
    };
    (0..10).map(line).collect()
}
