//! Conditional jumps: every condition and width, over edge numbers, immediates
//! and pairs of registers, taken and not, forwards and back.

use super::Line;
use super::fold::{Fold, From, IMMEDIATES, NUMBERS};
use crate::generate::{CONDITIONS, Operand};
use bpf_core::insn::op;

const NAMES: [&str; 11] = [
    "==", "!=", ">", ">=", "<", "<=", "&", "s>", "s>=", "s<", "s<=",
];

pub fn lines() -> Vec<Line> {
    let mut out = Vec::new();
    for (width, class) in [("32", op::JMP32), ("64", op::JMP)] {
        for (name, cond) in NAMES.into_iter().zip(CONDITIONS) {
            let name = format!("jump{width} {name}");
            for from in From::ALL {
                out.push(registers(&name, from, class, cond));
                out.push(immediates(&name, from, class, cond));
                out.push(pairs(&name, from, class, cond));
            }
            out.push(back(&name, class, cond));
        }
    }
    out
}

/// Adds to R6 whether the jump was taken.
fn count(fold: &mut Fold, class: u8, cond: u8, dst: u8, src: Operand) {
    let (taken, end) = (fold.code.label(), fold.code.label());
    fold.code.jump_if(class, cond, dst, src, taken);
    fold.code.store(op::DW, 10, Fold::FREE, Operand::Imm(3));
    fold.code.jump(false, end);
    fold.code.bind(taken);
    fold.code.store(op::DW, 10, Fold::FREE, Operand::Imm(5));
    fold.code.bind(end);
    fold.code.load(op::MEM, op::DW, 3, 10, Fold::FREE);
    fold.take(3);
}

fn registers(name: &str, from: From, class: u8, cond: u8) -> Line {
    let mut fold = Fold::new(from);
    for a in 0..NUMBERS.len() {
        for b in 0..NUMBERS.len() {
            fold.number(3, a);
            fold.number(4, b);
            count(&mut fold, class, cond, 3, Operand::Reg(4));
        }
    }
    fold.finish(format!("{name}: edge numbers"))
}

fn immediates(name: &str, from: From, class: u8, cond: u8) -> Line {
    let mut fold = Fold::new(from);
    for a in 0..NUMBERS.len() {
        for imm in IMMEDIATES {
            fold.number(3, a);
            count(&mut fold, class, cond, 3, Operand::Imm(imm));
        }
    }
    fold.finish(format!("{name}: immediates"))
}

fn pairs(name: &str, from: From, class: u8, cond: u8) -> Line {
    let mut fold = Fold::new(from);
    for dst in 0..10u8 {
        for src in 0..10u8 {
            fold.number(dst, usize::from(dst) + 12);
            fold.number(src, usize::from(src) * 2);
            count(&mut fold, class, cond, dst, Operand::Reg(src));
        }
    }
    fold.finish(format!("{name}: pairs of registers"))
}

/// A jump back, over values that make it happen or not.
fn back(name: &str, class: u8, cond: u8) -> Line {
    let mut fold = Fold::new(From::Constants);
    for start in [0, 1, 2, -3] {
        let (again, end) = (fold.code.label(), fold.code.label());
        fold.code.mov(6, Operand::Imm(start));
        fold.code.mov(7, Operand::Imm(0));
        fold.code.bind(again);
        fold.code.add(6, Operand::Imm(1));
        fold.code.add(7, Operand::Imm(1));
        let rounds = Operand::Imm(6);
        fold.code.jump_if(op::JMP, op::JGE, 7, rounds, end);
        fold.code.jump_if(class, cond, 6, Operand::Imm(2), again);
        fold.code.bind(end);
        fold.take(7);
        fold.take(6);
    }
    fold.finish(format!("{name}: back"))
}
