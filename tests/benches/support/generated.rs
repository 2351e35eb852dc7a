//! Programs of any length by rule: what loads and verifications are timed over.

#![allow(dead_code, reason = "each bench uses its part")]

use bpf_core::asm::assemble;
use bpf_core::insn::Insn;
use bpf_core::insn::build::{
    alu64_imm, alu64_reg, call, call_local, exit, ja, ja32, jmp_imm, ldx, mov64_imm, mov64_reg, st,
    stx,
};
use bpf_core::insn::op;

const GET_PRANDOM_U32: u32 = 7;

/// Arithmetic on a number that the verifier can't know.
pub fn straight(count: usize) -> Vec<Insn> {
    let mut program = vec![call(GET_PRANDOM_U32), mov64_reg(6, 0)];
    while program.len() + 2 < count {
        let n = program.len() as i32;
        program.push(match n % 4 {
            0 => alu64_imm(op::ADD, 6, n),
            1 => alu64_imm(op::XOR, 6, n),
            2 => alu64_reg(op::ADD, 6, 0),
            _ => alu64_imm(op::RSH, 6, 1),
        });
    }
    program.extend([mov64_imm(0, 2), exit()]);
    program
}

/// A branch every four instructions; both ways meet again with different states.
pub fn branchy(count: usize) -> Vec<Insn> {
    let mut program = vec![call(GET_PRANDOM_U32), mov64_reg(6, 0), mov64_imm(7, 0)];
    while program.len() + 6 < count {
        let n = program.len() as i32;
        program.extend([
            alu64_imm(op::ADD, 6, n),
            jmp_imm(op::JGT, 6, n * 7, 1),
            alu64_imm(op::XOR, 7, n),
            alu64_imm(op::RSH, 6, 1),
        ]);
    }
    program.extend([mov64_imm(0, 2), exit()]);
    program
}

/// A loop whose rounds are all followed, with numbers on the stack.
pub fn counted_loop(rounds: i32) -> Vec<Insn> {
    text(&format!(
        "r6 = 0
         *(u64 *)(r10 -8) = r6
         again:
         r1 = *(u64 *)(r10 -8)
         r1 += 3
         *(u64 *)(r10 -8) = r1
         r6 += 1
         if r6 < {rounds} goto again
         r0 = 2
         exit"
    ))
}

/// Loops inside loops that index the stack: every round matters.
pub fn nested_loops(rounds: i32) -> Vec<Insn> {
    text(&format!(
        "*(u64 *)(r10 -64) = 0
         r6 = 0
         outer:
         r7 = 0
         inner:
         r1 = r7
         r1 &= 7
         r2 = r10
         r2 += -64
         r2 += r1
         r3 = *(u8 *)(r2 +0)
         r3 += r6
         *(u8 *)(r2 +0) = r3
         r7 += 1
         if r7 < {rounds} goto inner
         r6 += 1
         if r6 < {rounds} goto outer
         r0 = 2
         exit"
    ))
}

/// Decisions that add up to the place where the stack is read in the end: each
/// combination of `bits` decisions is a state of its own.
pub fn many_states(bits: u32) -> Vec<Insn> {
    let mut program = vec![call(GET_PRANDOM_U32), mov64_reg(6, 0), mov64_imm(7, 0)];
    program.extend((1..=64).map(|slot| st(op::DW, 10, -8 * slot, 0)));
    for bit in 0..bits {
        program.extend([
            mov64_reg(1, 6),
            alu64_imm(op::AND, 1, 1 << bit),
            jmp_imm(op::JEQ, 1, 0, 1),
            alu64_imm(op::ADD, 7, 1 << bit),
        ]);
    }
    program.extend([
        mov64_reg(2, 10),
        alu64_reg(op::ADD, 2, 7),
        ldx(op::B, 0, 2, -512),
        alu64_imm(op::AND, 0, 1),
        exit(),
    ]);
    program
}

/// Branches over full stacks: each state has 64 spilled numbers.
pub fn wide_states(branches: usize) -> Vec<Insn> {
    let mut program = vec![call(GET_PRANDOM_U32), mov64_reg(6, 0)];
    for slot in 1..=64 {
        program.push(stx(op::DW, 10, -8 * slot, 6));
        program.push(alu64_imm(op::RSH, 6, 1));
        program.push(alu64_imm(op::ADD, 6, i32::from(slot)));
    }
    for n in 0..branches as i32 {
        let off = -8 * (n % 64 + 1) as i16;
        program.extend([
            ldx(op::DW, 1, 10, off),
            jmp_imm(op::JGT, 1, n * 5, 2),
            alu64_imm(op::ADD, 1, n),
            stx(op::DW, 10, off, 1),
        ]);
    }
    program.extend([mov64_imm(0, 2), exit()]);
    program
}

/// One function called over and over with different numbers.
pub fn calls(count: usize) -> Vec<Insn> {
    let mut program = vec![call(GET_PRANDOM_U32), mov64_reg(6, 0)];
    let function = 2 + count * 4 + 2;
    for n in 0..count {
        let at = program.len();
        program.extend([
            mov64_reg(1, 6),
            mov64_imm(2, n as i32),
            call_local((function - at - 3) as i32),
            alu64_reg(op::ADD, 6, 0),
        ]);
    }
    program.extend([mov64_imm(0, 2), exit()]);
    program.extend([
        stx(op::DW, 10, -8, 1),
        jmp_imm(op::JGT, 1, 1000, 2),
        alu64_reg(op::ADD, 1, 2),
        stx(op::DW, 10, -8, 1),
        ldx(op::DW, 0, 10, -8),
        exit(),
    ]);
    program
}

/// A chain of jumps, each to the one before it.
pub fn backwards(count: i32) -> Vec<Insn> {
    let mut program = vec![ja32(count - 2), mov64_reg(0, 1), exit(), ja(-3)];
    program.resize(count as usize, ja(-2));
    program
}

fn text(text: &str) -> Vec<Insn> {
    assemble(text).unwrap()
}
