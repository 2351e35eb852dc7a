//! Arithmetic of compiled code against a direct reading of RFC 9669, section 4:
//! every operation, every pair of registers, edge values.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod jit_support;

use bpf_core::insn::build::{exit, ld_imm64, mov64_reg};
use bpf_core::insn::{Insn, op};
use jit_support::world::{Env, Loaded, Maps, features, run, single};

const VALUES: [u64; 14] = [
    0,
    1,
    2,
    7,
    63,
    0x7f,
    0x80,
    0x1234_5678_9abc_def0,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ffff,
    i64::MAX as u64,
    i64::MIN as u64,
    u64::MAX,
];

const IMMS: [i32; 18] = [
    0,
    1,
    2,
    3,
    5,
    9,
    10,
    31,
    64,
    127,
    128,
    255,
    0xffff,
    -1,
    -2,
    -128,
    i32::MAX,
    i32::MIN,
];

/// Operations with the offsets that distinguish signed division and moves.
const OPERATIONS: [(u8, i16); 19] = [
    (op::ADD, 0),
    (op::SUB, 0),
    (op::MUL, 0),
    (op::DIV, 0),
    (op::DIV, 1),
    (op::OR, 0),
    (op::AND, 0),
    (op::LSH, 0),
    (op::RSH, 0),
    (op::NEG, 0),
    (op::MOD, 0),
    (op::MOD, 1),
    (op::XOR, 0),
    (op::MOV, 0),
    (op::MOV, 8),
    (op::MOV, 16),
    (op::MOV, 32),
    (op::ARSH, 0),
    (op::SUB, 0),
];

fn expected64(code: u8, off: i16, a: u64, b: u64) -> u64 {
    let (sa, sb) = (a as i64, b as i64);
    match (code, off) {
        (op::ADD, _) => a.wrapping_add(b),
        (op::SUB, _) => a.wrapping_sub(b),
        (op::MUL, _) => a.wrapping_mul(b),
        (op::DIV, 0) => a.checked_div(b).unwrap_or(0),
        (op::MOD, 0) => a.checked_rem(b).unwrap_or(a),
        (op::DIV, _) if b == 0 => 0,
        (op::DIV, _) => sa.wrapping_div(sb) as u64,
        (op::MOD, _) if b == 0 => a,
        (op::MOD, _) => sa.wrapping_rem(sb) as u64,
        (op::OR, _) => a | b,
        (op::AND, _) => a & b,
        (op::XOR, _) => a ^ b,
        (op::LSH, _) => a << (b & 63),
        (op::RSH, _) => a >> (b & 63),
        (op::ARSH, _) => (sa >> (b & 63)) as u64,
        (op::NEG, _) => a.wrapping_neg(),
        (_, 8) => i64::from(b as i8) as u64,
        (_, 16) => i64::from(b as i16) as u64,
        (_, 32) => i64::from(b as i32) as u64,
        _ => b,
    }
}

fn expected32(code: u8, off: i16, a: u64, b: u64) -> u64 {
    let (a, b) = (a as u32, b as u32);
    let (sa, sb) = (a as i32, b as i32);
    u64::from(match (code, off) {
        (op::DIV, 1) if b == 0 => 0,
        (op::DIV, 1) => sa.wrapping_div(sb) as u32,
        (op::MOD, 1) if b == 0 => a,
        (op::MOD, 1) => sa.wrapping_rem(sb) as u32,
        (op::LSH, _) => a << (b & 31),
        (op::RSH, _) => a >> (b & 31),
        (op::ARSH, _) => (sa >> (b & 31)) as u32,
        // All other operations on zero-extended values agree in their lower halves.
        _ => expected64(code, off, u64::from(a), u64::from(b)) as u32,
    })
}

fn exists(class: u8, code: u8, off: i16, immediate: bool) -> bool {
    match (code, off) {
        (op::MOV, 32) => class == op::ALU64 && !immediate,
        (op::MOV, 8 | 16) => !immediate,
        (op::NEG, _) => immediate,
        _ => true,
    }
}

/// Loads all registers with different values, does the instruction, and answers a
/// program that returns a digest of all registers.
fn observe(insn: Insn, dst: (u8, u64), src: (u8, u64)) -> Vec<Insn> {
    let mut p = Vec::new();
    for r in 0..10 {
        p.extend(ld_imm64(r, filler(r)));
    }
    p.extend(ld_imm64(src.0, src.1));
    p.extend(ld_imm64(dst.0, dst.1));
    p.push(insn);
    for r in 0..10 {
        // r0 = r0 * 31 + r, with R0 itself first.
        if r != 0 {
            p.push(Insn::new(op::ALU64 | op::MUL, 0, 0, 0, 31));
            p.push(Insn::new(op::ALU64 | op::X | op::ADD, 0, r, 0, 0));
        }
    }
    p.push(exit());
    p
}

fn filler(r: u8) -> u64 {
    0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(u64::from(r) + 1)
}

fn digest(dst: (u8, u64), src: (u8, u64)) -> u64 {
    let mut regs: [u64; 10] = std::array::from_fn(|r| filler(r as u8));
    regs[usize::from(src.0)] = src.1;
    regs[usize::from(dst.0)] = dst.1;
    regs[1..]
        .iter()
        .fold(regs[0], |h, r| h.wrapping_mul(31).wrapping_add(*r))
}

fn expected(class: u8, code: u8, off: i16, a: u64, b: u64) -> u64 {
    if class == op::ALU64 {
        expected64(code, off, a, b)
    } else {
        expected32(code, off, a, b)
    }
}

#[test]
fn register_operations() {
    for class in [op::ALU, op::ALU64] {
        for (code, off) in OPERATIONS {
            if !exists(class, code, off, false) {
                continue;
            }
            for dst in 0..10u8 {
                for src in 0..10u8 {
                    let k = usize::from(dst) * 7 + usize::from(src) * 3;
                    check_reg(
                        class,
                        code,
                        off,
                        dst,
                        src,
                        VALUES[k % 14],
                        VALUES[(k / 3) % 14],
                    );
                }
            }
            for a in VALUES {
                for b in VALUES {
                    check_reg(class, code, off, 7, 3, a, b);
                }
            }
        }
    }
}

fn check_reg(class: u8, code: u8, off: i16, dst: u8, src: u8, a: u64, b: u64) {
    let insn = Insn::new(class | op::X | code, dst, src, off, 0);
    let b = if src == dst { a } else { b };
    let want = digest((dst, expected(class, code, off, a, b)), (src, b));
    let got = run(&observe(insn, (dst, a), (src, b)), [0; 4]);
    assert_eq!(got, want, "{insn:?} on {a:#x}, {b:#x}");
}

#[test]
fn immediate_operations() {
    for class in [op::ALU, op::ALU64] {
        for (code, off) in OPERATIONS {
            if !exists(class, code, off, true) {
                continue;
            }
            for (n, imm) in IMMS.into_iter().enumerate() {
                for (m, a) in VALUES.into_iter().enumerate() {
                    let dst = ((n + m) % 10) as u8;
                    let insn = Insn::new(class | code, dst, 0, off, imm);
                    let b = i64::from(imm) as u64;
                    let value = expected(class, code, off, a, b);
                    let want = digest((dst, value), (dst, a));
                    let got = run(&observe(insn, (dst, a), (dst, a)), [0; 4]);
                    assert_eq!(got, want, "{insn:?} on {a:#x}");
                }
            }
        }
    }
}

#[test]
fn byte_swaps() {
    let v = 0x0123_4567_89ab_cdef_u64;
    let cases = [
        (op::ALU, op::K, 16, 0xcdef),
        (op::ALU, op::K, 32, 0x89ab_cdef),
        (op::ALU, op::K, 64, v),
        (op::ALU, op::X, 16, 0xefcd),
        (op::ALU, op::X, 32, 0xefcd_ab89),
        (op::ALU, op::X, 64, v.swap_bytes()),
        (op::ALU64, op::K, 16, 0xefcd),
        (op::ALU64, op::K, 32, 0xefcd_ab89),
        (op::ALU64, op::K, 64, v.swap_bytes()),
    ];
    for (class, source, bits, want) in cases {
        for dst in 0..10 {
            let insn = Insn::new(class | op::END | source, dst, 0, 0, bits);
            let got = run(&observe(insn, (dst, v), (dst, v)), [0; 4]);
            assert_eq!(got, digest((dst, want), (dst, v)), "{insn:?}");
        }
    }
}

#[test]
fn dead_registers_may_be_lost_but_results_are_not() {
    for (code, off) in OPERATIONS {
        for dst in 0..10 {
            for src in 0..10 {
                if !exists(op::ALU64, code, off, false) {
                    continue;
                }
                let (a, b) = (1_000_003, 17);
                let mut p = Vec::from(ld_imm64(src, b));
                p.extend(ld_imm64(dst, a));
                p.push(Insn::new(op::ALU64 | op::X | code, dst, src, off, 0));
                p.push(mov64_reg(0, dst));
                p.push(exit());
                let b = if src == dst { a } else { b };
                assert_eq!(run(&p, [0; 4]), expected64(code, off, a, b), "{p:?}");
            }
        }
    }
}

#[test]
fn conditional_jumps() {
    let codes = [
        op::JEQ,
        op::JGT,
        op::JGE,
        op::JSET,
        op::JNE,
        op::JSGT,
        op::JSGE,
        op::JLT,
        op::JLE,
        op::JSLT,
        op::JSLE,
    ];
    for class in [op::JMP, op::JMP32] {
        for code in codes {
            let values: Vec<u64> = VALUES
                .into_iter()
                .chain(IMMS.map(|i| i as i64 as u64))
                .collect();
            let loaded = Loaded::new(
                &jump_program(class | op::X | code, 0),
                &Maps::default(),
                features(),
            );
            let loaded = loaded.unwrap();
            for &a in &values {
                for &b in &values {
                    let got = loaded.run(&mut Env::default(), [a, b, 0, 0]);
                    assert_eq!(
                        got,
                        u64::from(holds(class, code, a, b)),
                        "{class} {code} {a:#x} {b:#x}"
                    );
                }
            }
            for imm in IMMS {
                let program = jump_program(class | code, imm);
                let loaded = Loaded::new(&program, &Maps::default(), features()).unwrap();
                for &a in &values {
                    let got = loaded.run(&mut Env::default(), [a, 0, 0, 0]);
                    let want = u64::from(holds(class, code, a, imm as i64 as u64));
                    assert_eq!(got, want, "{class} {code} {a:#x} {imm:#x}");
                }
            }
        }
    }
}

fn jump_program(opcode: u8, imm: i32) -> bpf_core::program::Program {
    let src = if opcode & op::X != 0 { 2 } else { 0 };
    single(
        &[
            Insn::new(op::ALU64 | op::MOV, 0, 0, 0, 1),
            Insn::new(opcode, 1, src, 1, imm),
            Insn::new(op::ALU64 | op::MOV, 0, 0, 0, 0),
            exit(),
        ],
        0,
    )
}

fn holds(class: u8, code: u8, a: u64, b: u64) -> bool {
    let narrow = class == op::JMP32;
    let (a, b) = if narrow {
        (a & 0xffff_ffff, b & 0xffff_ffff)
    } else {
        (a, b)
    };
    let signed = |v: u64| {
        if narrow {
            i64::from(v as i32)
        } else {
            v as i64
        }
    };
    let (sa, sb) = (signed(a), signed(b));
    match code {
        op::JEQ => a == b,
        op::JGT => a > b,
        op::JGE => a >= b,
        op::JSET => a & b != 0,
        op::JNE => a != b,
        op::JSGT => sa > sb,
        op::JSGE => sa >= sb,
        op::JLT => a < b,
        op::JLE => a <= b,
        op::JSLT => sa < sb,
        _ => sa <= sb,
    }
}
