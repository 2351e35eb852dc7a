//! Calls: tail calls and their limit, functions, and what survives them.

use super::{Fixup, Line, Table};
use crate::generate::{Code, Label, Operand};
use bpf_core::insn::op;

const TAIL_CALL: i32 = 12;
const GET_PRANDOM_U32: i32 = 7;

pub fn lines() -> Vec<Line> {
    let mut out = Vec::new();
    for index in [
        0i64,
        1,
        2,
        3,
        -1,
        1 << 32 | 1,
        1 << 31,
        0xffff_ffff,
        i64::MIN | 1,
    ] {
        out.push(tail(index));
        out.push(tail_in_function(index));
    }
    out.push(tail_counts());
    for reg in 6..10 {
        out.push(preserved(reg));
    }
    out.push(all_preserved());
    for depth in 1..=8 {
        out.push(chain(depth));
    }
    for count in [1, 10, 100, 250] {
        out.push(many_functions(count));
    }
    out.push(stack_by_pointer());
    out
}

/// `ctx, array, index` and the call. The array's load is instruction `at`.
fn tail_call(code: &mut Code, index: i64) -> Fixup {
    code.mov(1, Operand::Reg(6));
    let insn = code.len();
    code.imm64(2, 0, 0, 0);
    code.number(3, index as u64);
    code.call(TAIL_CALL);
    Fixup {
        insn,
        map: 0,
        value: false,
    }
}

fn with_programs(name: String, code: Code, fixup: Fixup) -> Line {
    Line {
        maps: vec![Table::Programs(3)],
        fixups: vec![fixup],
        ..Line::new(name, code.finish())
    }
}

/// Slot 1 holds the program itself: it counts in a field of the context.
fn tail(index: i64) -> Line {
    let mut code = Code::default();
    code.mov(6, Operand::Reg(1));
    let cb = 48; // __sk_buff.cb[0]
    code.load(op::MEM, op::W, 7, 6, cb);
    code.add(7, Operand::Imm(1));
    code.store(op::W, 6, cb, Operand::Reg(7));
    let fixup = tail_call(&mut code, index);
    code.load(op::MEM, op::W, 0, 6, cb);
    code.alu(op::ALU64, op::MUL, 0, Operand::Imm(3), 0);
    code.exit();
    with_programs(format!("tail call of {index:#x}"), code, fixup)
}

/// The same out of a function: the rest of the main program runs each time.
fn tail_in_function(index: i64) -> Line {
    let mut code = Code::default();
    let entry = code.label();
    let cb = 48;
    code.mov(6, Operand::Reg(1));
    code.mov(7, Operand::Imm(5));
    code.call_local(entry);
    code.add(0, Operand::Reg(7));
    code.exit();
    code.bind(entry);
    code.mov(6, Operand::Reg(1));
    code.load(op::MEM, op::W, 7, 6, cb);
    code.add(7, Operand::Imm(1));
    code.store(op::W, 6, cb, Operand::Reg(7));
    let fixup = tail_call(&mut code, index);
    code.load(op::MEM, op::W, 0, 6, cb);
    code.exit();
    with_programs(
        format!("tail call of {index:#x} in a function"),
        code,
        fixup,
    )
}

/// Calls of empty slots do not count.
fn tail_counts() -> Line {
    let mut code = Code::default();
    let cb = 48;
    code.mov(6, Operand::Reg(1));
    let mut fixups = Vec::new();
    for index in [0, 2, 7] {
        fixups.push(tail_call(&mut code, index));
    }
    code.load(op::MEM, op::W, 7, 6, cb);
    code.add(7, Operand::Imm(1));
    code.store(op::W, 6, cb, Operand::Reg(7));
    fixups.push(tail_call(&mut code, 1));
    code.load(op::MEM, op::W, 0, 6, cb);
    code.exit();
    Line {
        maps: vec![Table::Programs(3)],
        fixups,
        ..Line::new("empty slots between tail calls", code.finish())
    }
}

/// A register keeps its number across a helper and a function that uses it.
fn preserved(reg: u8) -> Line {
    let mut code = Code::default();
    let entry = code.label();
    code.number(reg, 0x0123_4567_89ab_cdef);
    code.call(GET_PRANDOM_U32);
    code.call_local(entry);
    code.mov(0, Operand::Reg(reg));
    code.mov(1, Operand::Reg(0));
    code.alu(op::ALU64, op::RSH, 1, Operand::Imm(32), 0);
    code.alu(op::ALU64, op::XOR, 0, Operand::Reg(1), 0);
    code.exit();
    code.bind(entry);
    code.mov(reg, Operand::Imm(9));
    code.mov(0, Operand::Reg(reg));
    code.exit();
    Line::new(format!("r{reg} is preserved"), code.finish())
}

fn all_preserved() -> Line {
    let mut code = Code::default();
    let entry = code.label();
    for reg in 6..10 {
        code.mov(reg, Operand::Imm(i32::from(reg) << 8));
    }
    code.mov(1, Operand::Imm(4));
    code.call_local(entry);
    for reg in 6..10 {
        code.alu(op::ALU64, op::MUL, 0, Operand::Imm(33), 0);
        code.add(0, Operand::Reg(reg));
    }
    code.exit();
    code.bind(entry);
    for reg in 6..10 {
        code.mov(reg, Operand::Reg(1));
        code.call(GET_PRANDOM_U32);
        code.mov(0, Operand::Reg(reg));
        code.mov(1, Operand::Imm(i32::from(reg)));
    }
    code.exit();
    Line::new("r6 to r9 are preserved", code.finish())
}

/// Functions that call each other, each with its own frame.
fn chain(depth: usize) -> Line {
    let mut code = Code::default();
    let entries: Vec<Label> = (0..depth).map(|_| code.label()).collect();
    for level in 0..depth {
        code.bind(entries[level]);
        code.mov(6, Operand::Imm(level as i32 + 1));
        code.store(op::DW, 10, -8, Operand::Reg(6));
        code.store(op::DW, 10, -32, Operand::Imm(0x100 << level));
        match entries.get(level + 1) {
            Some(next) => code.call_local(*next),
            None => code.mov(0, Operand::Imm(1)),
        }
        for at in [-8, -32] {
            code.load(op::MEM, op::DW, 1, 10, at);
            code.alu(op::ALU64, op::MUL, 0, Operand::Imm(3), 0);
            code.add(0, Operand::Reg(1));
        }
        code.add(0, Operand::Reg(6));
        code.exit();
    }
    Line::new(format!("{depth} frames"), code.finish())
}

/// Many functions, called one after the other.
fn many_functions(count: usize) -> Line {
    let mut code = Code::default();
    let entries: Vec<Label> = (0..count).map(|_| code.label()).collect();
    code.mov(6, Operand::Imm(0));
    for &entry in &entries {
        code.mov(1, Operand::Reg(6));
        code.call_local(entry);
        code.mov(6, Operand::Reg(0));
    }
    code.exit();
    for (at, &entry) in entries.iter().enumerate() {
        code.bind(entry);
        code.mov(0, Operand::Reg(1));
        code.alu(op::ALU, op::MUL, 0, Operand::Imm(5), 0);
        code.add(0, Operand::Imm(at as i32));
        code.exit();
    }
    Line::new(format!("{count} functions"), code.finish())
}

/// A function that writes into its caller's frame.
fn stack_by_pointer() -> Line {
    let mut code = Code::default();
    let entry = code.label();
    code.store(op::DW, 10, -8, Operand::Imm(17));
    code.mov(1, Operand::Reg(10));
    code.add(1, Operand::Imm(-8));
    code.mov(2, Operand::Imm(5));
    code.call_local(entry);
    code.load(op::MEM, op::DW, 1, 10, -8);
    code.add(0, Operand::Reg(1));
    code.exit();
    code.bind(entry);
    code.load(op::MEM, op::DW, 0, 1, 0);
    code.alu(op::ALU64, op::MUL, 2, Operand::Reg(0), 0);
    code.store(op::DW, 1, 0, Operand::Reg(2));
    code.exit();
    Line::new("stack by pointer", code.finish())
}
