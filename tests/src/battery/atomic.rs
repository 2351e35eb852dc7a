//! Atomics: every operation and size, over edge numbers and pairs of registers,
//! on the stack and in a map.

use super::Line;
use super::fold::{Fold, From, NUMBERS};
use crate::generate::Operand;
use bpf_core::insn::op;

/// Name and operation.
const OPERATIONS: [(&str, i32); 10] = [
    ("add", op::ADD as i32),
    ("or", op::OR as i32),
    ("and", op::AND as i32),
    ("xor", op::XOR as i32),
    ("fetch add", op::ADD as i32 | op::FETCH),
    ("fetch or", op::OR as i32 | op::FETCH),
    ("fetch and", op::AND as i32 | op::FETCH),
    ("fetch xor", op::XOR as i32 | op::FETCH),
    ("xchg", op::XCHG),
    ("cmpxchg", op::CMPXCHG),
];

pub fn lines() -> Vec<Line> {
    let mut out = Vec::new();
    for (name, operation) in OPERATIONS {
        for (width, size) in [("32", op::W), ("64", op::DW)] {
            for from in From::ALL {
                let name = format!("atomic{width} {name}");
                out.push(numbers(&name, size, operation, from));
                out.push(pairs(&name, size, operation, from));
            }
        }
    }
    for (width, size) in [("8", op::B), ("16", op::H), ("32", op::W), ("64", op::DW)] {
        out.push(ordered(width, size));
    }
    out
}

/// R0 after a 32-bit compare-and-exchange: the kernel may leave its upper half
/// as it was, so only the lower one is looked at.
fn take_r0(fold: &mut Fold, size: u8) {
    if size == op::W {
        fold.code.alu(op::ALU, op::MOV, 0, Operand::Reg(0), 0);
    }
    fold.take(0);
}

/// Memory, operand and R0 over edge numbers; half of the comparisons hold.
fn numbers(name: &str, size: u8, operation: i32, from: From) -> Line {
    let mut fold = Fold::new(from);
    for a in 0..NUMBERS.len() {
        for b in (0..NUMBERS.len()).step_by(3) {
            let compared = if b % 2 == 0 { a } else { b };
            fold.number(3, a);
            fold.code.store(op::DW, 10, Fold::FREE, Operand::Reg(3));
            fold.number(4, b);
            fold.number(0, compared);
            let opcode = op::STX | op::ATOMIC | size;
            fold.code.raw(opcode, 10, 4, Fold::FREE, operation);
            take_r0(&mut fold, size);
            fold.take(4);
            fold.code.load(op::MEM, op::DW, 5, 10, Fold::FREE);
            fold.take(5);
        }
    }
    fold.finish(format!("{name}: edge numbers"))
}

fn pairs(name: &str, size: u8, operation: i32, from: From) -> Line {
    let mut fold = Fold::new(from);
    for base in 1..11u8 {
        for src in (0..10u8).filter(|&src| src != base) {
            fold.number(3, 22);
            fold.code.store(op::DW, 10, Fold::FREE, Operand::Reg(3));
            fold.number(0, 22);
            fold.number(src, 20);
            if base < 10 {
                fold.code.mov(base, Operand::Reg(10));
            }
            let opcode = op::STX | op::ATOMIC | size;
            fold.code.raw(opcode, base, src, Fold::FREE, operation);
            if src != 0 {
                fold.code.mov(9, Operand::Reg(src));
                take_r0(&mut fold, size);
                fold.take(9);
            } else {
                take_r0(&mut fold, size);
            }
            fold.code.load(op::MEM, op::DW, 5, 10, Fold::FREE);
            fold.take(5);
        }
    }
    fold.finish(format!("{name}: pairs of registers"))
}

/// Loads that acquire and stores that release.
fn ordered(width: &str, size: u8) -> Line {
    let mut fold = Fold::new(From::Memory);
    let opcode = op::STX | op::ATOMIC | size;
    for index in 0..NUMBERS.len() as i16 {
        fold.value(6);
        fold.code.raw(opcode, 4, 6, 8 * index, op::LOAD_ACQ);
        fold.code.store(op::DW, 10, Fold::FREE, Operand::Imm(-1));
        fold.code.raw(opcode, 10, 4, Fold::FREE, op::STORE_REL);
        fold.take(4);
        fold.code.load(op::MEM, op::DW, 5, 10, Fold::FREE);
        fold.take(5);
    }
    fold.finish(format!("load acquire, store release: {width} bits"))
}
