//! Loads and stores: every size, register and kind of displacement.

use super::Line;
use super::fold::{Fold, From, IMMEDIATES, NUMBERS};
use crate::generate::Operand;
use bpf_core::insn::op;

/// Name, code and bytes.
const SIZES: [(&str, u8, i16); 4] = [
    ("u8", op::B, 1),
    ("u16", op::H, 2),
    ("u32", op::W, 4),
    ("u64", op::DW, 8),
];

pub fn lines() -> Vec<Line> {
    let mut out = Vec::new();
    for (name, size, bytes) in SIZES {
        for from in From::ALL {
            out.push(registers(name, size, from));
            out.push(stored_registers(name, size, from));
        }
        out.push(stored_immediates(name, size));
        out.push(displacements(name, size, bytes));
        out.push(packet_bytes(name, size, bytes));
    }
    out.extend(SIZES.map(|(name, size, _)| extension(name, size)));
    out
}

/// `dst = *(size *)(base)` for each pair of registers.
fn registers(name: &str, size: u8, from: From) -> Line {
    let mut fold = Fold::new(from);
    for dst in 0..10u8 {
        for base in 0..11u8 {
            fold.number(dst, 22);
            fold.code.store(op::DW, 10, Fold::FREE, Operand::Reg(dst));
            if base < 10 {
                fold.code.mov(base, Operand::Reg(10));
            }
            fold.code.load(op::MEM, size, dst, base, Fold::FREE);
            fold.take(dst);
        }
    }
    fold.finish(format!("load {name}: pairs of registers"))
}

/// `*(size *)(base) = src` for each pair of registers; the bytes around stay.
fn stored_registers(name: &str, size: u8, from: From) -> Line {
    let mut fold = Fold::new(from);
    for src in 0..10u8 {
        for base in (0..11u8).filter(|&base| base != src) {
            fold.code.store(op::DW, 10, Fold::FREE, Operand::Imm(-1));
            fold.number(src, 23);
            if base < 10 {
                fold.code.mov(base, Operand::Reg(10));
            }
            fold.code.store(size, base, Fold::FREE, Operand::Reg(src));
            fold.code.load(op::MEM, op::DW, 3, 10, Fold::FREE);
            fold.take(3);
        }
    }
    fold.finish(format!("store {name}: pairs of registers"))
}

fn stored_immediates(name: &str, size: u8) -> Line {
    let mut fold = Fold::new(From::Constants);
    for imm in IMMEDIATES {
        for base in [3, 10] {
            fold.number(4, 22);
            fold.code.store(op::DW, 10, Fold::FREE, Operand::Reg(4));
            fold.code.mov(3, Operand::Reg(10));
            fold.code.store(size, base, Fold::FREE, Operand::Imm(imm));
            fold.code.load(op::MEM, op::DW, 4, 10, Fold::FREE);
            fold.take(4);
        }
    }
    fold.finish(format!("store {name}: immediates"))
}

/// Displacements around the edge of eight bits, on both sides of a pointer.
fn displacements(name: &str, size: u8, bytes: i16) -> Line {
    let mut fold = Fold::new(From::Constants);
    for middle in [-256i16, -128] {
        fold.code.mov(6, Operand::Reg(10));
        fold.code.add(6, Operand::Imm(middle.into()));
        for off in [-128 - bytes, -128, -127, -8, 0, 8, 119, 120, 112] {
            if off + middle + 8 > -16 || middle + off < -500 {
                continue;
            }
            let off = off / bytes * bytes;
            fold.number(4, 22);
            fold.code.store(size, 6, off, Operand::Reg(4));
            fold.code.load(op::MEM, size, 5, 10, middle + off);
            fold.take(5);
            fold.code.load(op::MEM, size, 5, 6, off);
            fold.take(5);
        }
    }
    fold.finish(format!("{name}: displacements"))
}

/// Sign extension of memory, at each place of a word.
fn extension(name: &str, size: u8) -> Line {
    let mut fold = Fold::new(From::Memory);
    for index in 0..NUMBERS.len() as i16 {
        for (dst, at) in (0..8).zip((0..8).cycle()) {
            let step = 1i16 << [2, 1, 0, 3][usize::from(size >> 3)];
            fold.value(9);
            let off = 8 * index + at / step * step;
            let mode = if size == op::DW { op::MEM } else { op::MEMSX };
            fold.code.load(mode, size, dst, 9, off);
            fold.take(dst);
        }
    }
    fold.finish(format!("load s{}", &name[1..]))
}

/// All of a packet, by direct access.
fn packet_bytes(name: &str, size: u8, bytes: i16) -> Line {
    let mut fold = Fold::new(From::Constants);
    let out = fold.code.label();
    fold.code.load(op::MEM, op::W, 6, 1, 0);
    fold.code.load(op::MEM, op::W, 7, 1, 4);
    fold.code.mov(8, Operand::Reg(6));
    fold.code.add(8, Operand::Imm(64));
    fold.code.jump_if(op::JMP, op::JGT, 8, Operand::Reg(7), out);
    for at in 0..64 / bytes {
        fold.code.load(op::MEM, size, 3, 6, at * bytes);
        fold.take(3);
        fold.code.alu(op::ALU64, op::XOR, 3, Operand::Imm(-1), 0);
        fold.code.store(size, 6, at * bytes, Operand::Reg(3));
    }
    fold.code.bind(out);
    Line {
        prog_type: "xdp",
        packets: vec![super::packet(64), super::packet(63), super::packet(100)],
        ..fold.finish(format!("{name}: a whole packet"))
    }
}
