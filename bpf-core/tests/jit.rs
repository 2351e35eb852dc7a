//! Memory, control flow and calls of compiled code.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod jit_support;

use bpf_core::insn::build::*;
use bpf_core::insn::{Insn, op};
use bpf_core::jit::{self, Features, JitError};
use bpf_core::program::{MapDesc, Program};
use bpf_core::uapi::MapType;
use jit_support::world::*;

fn load(p: &Program, maps: &Maps) -> Loaded {
    Loaded::new(p, maps, features()).expect("it compiles")
}

fn address<T: ?Sized>(v: &mut T) -> u64 {
    std::ptr::from_mut(v).cast::<u8>() as u64
}

#[test]
fn loads_of_every_size_and_register() {
    let mut data = 0x8182_8384_8586_8788_u64.to_le_bytes();
    let at = address(&mut data);
    let cases = [
        (op::B, op::MEM, 0x88),
        (op::H, op::MEM, 0x8788),
        (op::W, op::MEM, 0x8586_8788),
        (op::DW, op::MEM, 0x8182_8384_8586_8788),
        (op::B, op::MEMSX, 0xffff_ffff_ffff_ff88),
        (op::H, op::MEMSX, 0xffff_ffff_ffff_8788),
        (op::W, op::MEMSX, 0xffff_ffff_8586_8788),
    ];
    for (size, mode, want) in cases {
        for dst in 0..10 {
            for src in 0..10 {
                for off in [0, 8, -8, 127, 128, -129] {
                    let mut p = Vec::from(ld_imm64(src, at.wrapping_sub(off as i64 as u64)));
                    p.push(Insn::new(op::LDX | mode | size, dst, src, off, 0));
                    p.push(mov64_reg(0, dst));
                    p.push(exit());
                    assert_eq!(run(&p, [0; 4]), want);
                }
            }
        }
    }
}

#[test]
fn stores_of_every_size_and_register() {
    for (size, mask) in [
        (op::B, 0xff),
        (op::H, 0xffff),
        (op::W, 0xffff_ffff),
        (op::DW, u64::MAX),
    ] {
        for dst in 0..10 {
            for src in (0..10).filter(|&s| s != dst) {
                let mut data = [0x5555_5555_5555_5555_u64; 3];
                let value = 0xfedc_ba98_7654_3210;
                let mut p = Vec::from(ld_imm64(dst, address(&mut data)));
                p.extend(ld_imm64(src, value));
                p.push(stx(size, dst, 8, src));
                p.push(st(size, dst, 16, -2));
                p.push(exit());
                run_once(&p);
                let kept = 0x5555_5555_5555_5555 & !mask;
                assert_eq!(data[1], value & mask | kept);
                assert_eq!(data[2], -2_i64 as u64 & mask | kept);
            }
        }
    }
}

#[test]
fn stack_of_leaf_and_caller() {
    for helper in [false, true] {
        let mut p = vec![st(op::DW, 10, -8, 11), st(op::DW, 10, -512, 31)];
        if helper {
            p.push(call(RECORD));
        }
        p.extend([
            ldx(op::DW, 0, 10, -8),
            ldx(op::DW, 1, 10, -512),
            alu64_reg(op::ADD, 0, 1),
            exit(),
        ]);
        assert_eq!(run(&p, [0; 4]), 42);
    }
}

/// All atomic operations: what stays in memory, what comes back in which register.
fn atomic_expected(imm: i32, old: u64, src: u64, r0: u64) -> u64 {
    match imm & !op::FETCH {
        0x00 => old.wrapping_add(src),
        0x40 => old | src,
        0x50 => old & src,
        0xa0 => old ^ src,
        0xe0 => src,
        _ if old == r0 => src,
        _ => old,
    }
}

#[test]
fn atomics() {
    let base = [0x00, 0x40, 0x50, 0xa0];
    let operations = base.into_iter().chain(base.map(|b| b | op::FETCH));
    for imm in operations.chain([op::XCHG, op::CMPXCHG]) {
        for size in [op::W, op::DW] {
            for dst in 0..10 {
                for src in (0..10).filter(|&s| s != dst) {
                    for equal in [false, true] {
                        check_atomic(imm, size, dst, src, equal);
                    }
                }
            }
        }
    }
}

fn check_atomic(imm: i32, size: u8, dst: u8, src: u8, equal: bool) {
    if imm == op::CMPXCHG && dst == 0 {
        return;
    }
    let mask = if size == op::W { 0xffff_ffff } else { u64::MAX };
    let (old, operand) = (0xf0f0_1234_8765_4321_u64, 0x0ff0_5678_9abc_def0_u64);
    let r0 = if equal {
        old ^ (!mask & 0xabcd << 40)
    } else {
        77
    };
    let mut data = [1, old, 2];
    let mut p = Vec::from(ld_imm64(0, r0));
    p.extend(ld_imm64(src, operand));
    p.extend(ld_imm64(dst, address(&mut data)));
    p.push(atomic(size, imm, dst, 8, src));
    let result = if imm == op::CMPXCHG { 0 } else { src };
    p.push(mov64_reg(0, result));
    p.push(exit());
    let got = run_once(&p);
    let r0 = if src == 0 { operand } else { r0 };
    let stored = atomic_expected(imm, old & mask, operand & mask, r0 & mask) & mask;
    assert_eq!(
        data,
        [1, old & !mask | stored, 2],
        "{imm:#x} {size} {dst} {src}"
    );
    let fetched = if imm & op::FETCH != 0 {
        old & mask
    } else {
        operand
    };
    assert_eq!(got, fetched, "{imm:#x} {size} {dst} {src}");
}

fn run_once(p: &[Insn]) -> u64 {
    load(&single(p, 512), &Maps::default()).run(&mut Env::default(), [0; 4])
}

#[test]
fn a_register_keeps_what_fetching_does_not_touch() {
    let mut data = [0b1100_u64];
    let p = [
        mov64_imm(0, 99),
        mov64_imm(2, 0b1010),
        atomic(op::DW, 0x50 | op::FETCH, 1, 0, 2),
        alu64_reg(op::ADD, 0, 2),
        exit(),
    ];
    let loaded = load(&single(&p, 0), &Maps::default());
    let got = loaded.run(&mut Env::default(), [address(&mut data), 0, 0, 0]);
    assert_eq!((got, data[0]), (99 + 0b1100, 0b1000));
}

#[test]
fn ordered_loads_and_stores() {
    let mut data = [0x1122_3344_5566_7788_u64, 0];
    for (size, mask) in [
        (op::B, 0xff),
        (op::H, 0xffff),
        (op::W, 0xffff_ffff),
        (op::DW, u64::MAX),
    ] {
        data[1] = 0;
        let p = [
            atomic(size, op::LOAD_ACQ, 3, 0, 1),
            atomic(size, op::STORE_REL, 1, 8, 3),
            mov64_reg(0, 3),
            exit(),
        ];
        let loaded = load(&single(&p, 0), &Maps::default());
        let got = loaded.run(&mut Env::default(), [address(&mut data), 0, 0, 0]);
        assert_eq!((got, data[1]), (data[0] & mask, data[0] & mask));
    }
}

#[test]
fn helpers_get_arguments_and_environment() {
    let p = [
        mov64_imm(6, 1),
        mov64_imm(7, 2),
        mov64_imm(8, 3),
        mov64_imm(9, 4),
        mov64_imm(5, 50),
        call(RECORD),
        alu64_reg(op::ADD, 0, 6),
        alu64_reg(op::ADD, 0, 7),
        alu64_reg(op::ADD, 0, 8),
        alu64_reg(op::ADD, 0, 9),
        exit(),
    ];
    let mut env = Env::default();
    let got = load(&single(&p, 8), &Maps::default()).run(&mut env, [10, 20, 30, 40]);
    assert_eq!(env.seen, [[10, 20, 30, 40, 50]]);
    assert_eq!((got, env.misaligned), (160, false));
}

/// main: R6..R9 = 1..4, stack slot = 5; calls f twice; f spoils everything.
#[test]
fn functions_preserve_r6_to_r9_and_have_their_own_stack() {
    let p = [
        mov64_imm(6, 1),
        mov64_imm(7, 2),
        mov64_imm(8, 3),
        mov64_imm(9, 4),
        st(op::DW, 10, -8, 5),
        mov64_imm(1, 100),
        call_local(8),
        alu64_reg(op::ADD, 0, 6),
        alu64_reg(op::ADD, 0, 7),
        alu64_reg(op::ADD, 0, 8),
        alu64_reg(op::ADD, 0, 9),
        ldx(op::DW, 1, 10, -8),
        alu64_reg(op::ADD, 0, 1),
        exit(),
        mov64_imm(0, 0),
        // f:
        mov64_imm(6, -1),
        mov64_imm(7, -1),
        mov64_imm(8, -1),
        mov64_imm(9, -1),
        st(op::DW, 10, -8, -1),
        mov64_reg(6, 1),
        call(RECORD),
        mov64_reg(0, 6),
        exit(),
    ];
    let p: Vec<Insn> = p
        .into_iter()
        .enumerate()
        .filter(|&(i, _)| i != 14)
        .map(|(_, x)| x)
        .collect();
    let mut env = Env::default();
    for stack in [8, 16, 24] {
        let mut prog = functions(&p, &[0, 14], stack);
        prog.insns[6].imm = 7;
        let got = load(&prog, &Maps::default()).run(&mut env, [0; 4]);
        assert_eq!((got, env.misaligned), (115, false));
    }
}

#[test]
fn callbacks_run_in_the_same_environment() {
    let [a, b] = ld_func(1, 6);
    let p = [
        mov64_imm(6, 7),
        a,
        b,
        mov64_imm(2, 5),
        mov64_imm(3, 10),
        call(CALL_BACK),
        alu64_reg(op::ADD, 0, 6),
        exit(),
        // callback(i, ctx)
        mov64_imm(6, -1),
        mov64_reg(0, 1),
        alu64_reg(op::MUL, 0, 2),
        exit(),
    ];
    let got = load(&functions(&p, &[0, 8], 0), &Maps::default()).run(&mut Env::default(), [0; 4]);
    assert_eq!(got, 45 * 5 + 7);
}

#[test]
fn packet_loads() {
    for (size, want) in [(op::B, 0x33), (op::H, 0x3344), (op::W, 0x3344_5566)] {
        for (mode, index) in [(op::ABS, 0), (op::IND, 3)] {
            let p = [
                mov64_imm(3, 1),
                mov64_imm(0, 5),
                Insn::new(
                    op::LD | mode | size,
                    0,
                    index,
                    0,
                    if index == 0 { 2 } else { 1 },
                ),
                exit(),
            ];
            let mut env = Env {
                packet: vec![0x11, 0x22, 0x33, 0x44, 0x55, 0x66],
                ..Env::default()
            };
            let loaded = load(&single(&p, 0), &Maps::default());
            assert_eq!(loaded.run(&mut env, [0; 4]), want);
            env.packet.truncate(2);
            assert_eq!(
                loaded.run(&mut env, [0; 4]),
                0,
                "a short packet ends the program"
            );
        }
    }
}

#[test]
fn a_negative_packet_index_is_passed_as_it_is() {
    let p = [
        mov64_imm(3, -3),
        Insn::new(op::LD | op::IND | op::B, 0, 3, 0, 4),
        exit(),
    ];
    let mut env = Env {
        packet: vec![1, 2, 3],
        ..Env::default()
    };
    assert_eq!(
        load(&single(&p, 0), &Maps::default()).run(&mut env, [0; 4]),
        2
    );
}

/// A program that tail-calls slot `R2 of the caller` and else returns `other`.
fn tail_caller(other: i32) -> Vec<Insn> {
    let mut p = vec![mov64_reg(3, 2), mov64_reg(6, 1)];
    p.extend(ld_map(2, 1));
    p.extend([call(12), mov64_imm(0, other), exit()]);
    p
}

#[test]
fn tail_calls() {
    let leaf = load(&single(&[mov64_reg(0, 1), exit()], 512), &Maps::default());
    let array = ProgArray::new(&[leaf.tail_call_entry(), 0]);
    let maps = Maps(vec![array.desc(1)]);
    let mut env = Env::default();
    let main = load(&single(&tail_caller(-1), 64), &maps);
    assert_eq!(main.run(&mut env, [33, 0, 0, 0]), 33, "slot in use");
    assert_eq!(env.run.tail_calls, 1);
    for index in [1, 2, u64::from(u32::MAX)] {
        assert_eq!(
            main.run(&mut env, [33, index, 0, 0]),
            u64::MAX,
            "slot {index}"
        );
    }
    assert_eq!(
        main.run(&mut env, [34, 1 << 32, 0, 0]),
        34,
        "the index has 32 bits"
    );
}

#[test]
fn tail_calls_end_after_33() {
    let mut p = vec![alu64_imm(op::ADD, 1, 1), mov64_reg(6, 1)];
    p.extend(ld_map(2, 1));
    p.extend([mov64_imm(3, 0), call(12), mov64_reg(0, 6), exit()]);
    let mut array = ProgArray::new(&[0]);
    let main = load(&single(&p, 16), &Maps(vec![array.desc(1)]));
    array.set(0, main.tail_call_entry());
    assert_eq!(main.run(&mut Env::default(), [0; 4]), 34);
}

#[test]
fn a_tail_call_from_a_function_returns_to_its_caller() {
    let spoiler = [
        mov64_imm(6, -1),
        mov64_imm(7, -1),
        mov64_imm(8, -1),
        mov64_imm(9, -1),
        mov64_imm(0, 1000),
        exit(),
    ];
    let leaf = load(&single(&spoiler, 0), &Maps::default());
    let array = ProgArray::new(&[leaf.tail_call_entry()]);
    let mut p = vec![
        mov64_imm(6, 1),
        mov64_imm(7, 2),
        mov64_imm(8, 3),
        mov64_imm(9, 4),
        call_local(5),
    ];
    p.extend([6, 7, 8, 9].map(|r| alu64_reg(op::ADD, 0, r)));
    p.push(exit());
    p.extend(ld_map(2, 1));
    p.extend([mov64_imm(3, 0), call(12), mov64_imm(0, -1), exit()]);
    let main = load(&functions(&p, &[0, 10], 8), &Maps(vec![array.desc(1)]));
    assert_eq!(main.run(&mut Env::default(), [0; 4]), 1010);
}

#[test]
fn map_addresses() {
    let mut values = [1_u64, 2, 3];
    let at = address(&mut values);
    let desc = MapDesc {
        map_type: MapType::Array,
        values_addr: at,
        object_addr: 0xffff_8000_1234_5678,
        ..ProgArray::new(&[]).desc(9)
    };
    let maps = Maps(vec![desc]);
    let mut p = Vec::from(ld_map_value(1, 9, 16));
    p.extend([ldx(op::DW, 0, 1, 0), exit()]);
    assert_eq!(
        load(&single(&p, 0), &maps).run(&mut Env::default(), [0; 4]),
        3
    );
    let mut p = Vec::from(ld_map(0, 9));
    p.push(exit());
    let got = load(&single(&p, 0), &maps).run(&mut Env::default(), [0; 4]);
    assert_eq!(got, 0xffff_8000_1234_5678);
}

#[test]
fn may_goto_ends_every_loop() {
    let p = [
        mov64_imm(0, 0),
        Insn::new(op::JMP | op::JCOND, 0, 0, 2, 0),
        alu64_imm(op::ADD, 0, 1),
        ja(-3),
        exit(),
    ];
    assert_eq!(run(&p, [0; 4]), 8 * 1024 * 1024);
}

/// A jump over `n` two-byte instructions reaches however long it has to be.
#[test]
fn jumps_of_every_length() {
    let lengths = (0..80).chain([1000, 40_000]);
    for n in lengths {
        let mut p = vec![
            mov64_imm(0, 1),
            jmp_imm(op::JEQ, 1, 0, 1),
            ja32(n),
            mov64_imm(0, 2),
        ];
        if n > 0 {
            p.pop();
            p.extend((0..n).map(|_| alu32_imm(op::ADD, 0, 1)));
        }
        p.push(exit());
        let taken = load(&single(&p, 0), &Maps::default()).run(&mut Env::default(), [1, 0, 0, 0]);
        assert_eq!(taken, if n > 0 { 1 } else { 2 }, "{n}");
        let fallen = load(&single(&p, 0), &Maps::default()).run(&mut Env::default(), [0; 4]);
        assert_eq!(fallen, if n > 0 { 1 + n as u64 } else { 2 }, "{n}");
    }
}

#[test]
fn backward_jumps_of_every_length() {
    for n in 0..70 {
        let mut p = vec![mov64_imm(0, 0)];
        p.extend((0..n).map(|_| alu32_imm(op::ADD, 0, 1)));
        p.push(alu64_imm(op::SUB, 1, 1));
        p.push(jmp_imm(op::JNE, 1, 0, -(n as i16) - 2));
        p.push(exit());
        let got = load(&single(&p, 0), &Maps::default()).run(&mut Env::default(), [3, 0, 0, 0]);
        assert_eq!(got, 3 * n);
    }
}

#[test]
fn a_million_instructions() {
    let n = 999_990;
    let mut p = vec![mov64_imm(0, 0), jmp_imm(op::JEQ, 1, 0, 1), ja32(n)];
    p.extend((0..n / 2).flat_map(|_| [alu64_imm(op::ADD, 0, 1), jmp_imm(op::JEQ, 0, 0, 1)]));
    p.extend([alu64_imm(op::ADD, 0, 7), exit()]);
    let loaded = load(&single(&p, 0), &Maps::default());
    assert_eq!(loaded.run(&mut Env::default(), [1, 0, 0, 0]), 7);
    assert_eq!(loaded.run(&mut Env::default(), [0; 4]), n as u64 / 2 + 7);
}

fn compile_error(p: &Program) -> JitError {
    let host = Host {
        features: Features::default(),
    };
    jit::compile(p, &Maps::default(), &host, 0x10_0000).expect_err("it must not compile")
}

#[test]
fn malformed_programs_are_named_errors() {
    let cases: [(&[Insn], u32); 12] = [
        (&[mov64_imm(10, 1), exit()], 0),
        (&[mov64_imm(11, 1), exit()], 0),
        (&[ldx(op::DW, 0, 12, 0), exit()], 0),
        (&[ja(5), exit()], 0),
        (&[mov64_imm(0, 0), ja(-3), exit()], 1),
        (&[call(4242), exit()], 0),
        (&[call_local(0), mov64_imm(0, 0), exit()], 0),
        (&[ld_map(0, 77)[0], ld_map(0, 77)[1], exit()], 0),
        (&[exit(), Insn::new(op::LD_IMM64, 0, 0, 0, 1)], 1),
        (&[Insn::new(op::ALU | op::END, 0, 0, 0, 17), exit()], 0),
        (&[atomic(op::B, 0, 1, 0, 2), exit()], 0),
        (&[ja(1), ld_imm64(0, 1)[0], ld_imm64(0, 1)[1], exit()], 2),
    ];
    for (p, at) in cases {
        assert_eq!(
            compile_error(&single(p, 0)),
            JitError::Unsupported(at),
            "{p:?}"
        );
    }
    compile_error(&Program::default());
}

/// Whatever bytes a program consists of, compiling never panics.
#[test]
fn any_bytes_compile_or_fail() {
    let mut seed = 1_u64;
    let mut next = move || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed
    };
    let host = Host {
        features: features(),
    };
    let mut compiled = 0;
    for _ in 0..100_000 {
        let n = next() % 4 + 1;
        let p: Vec<Insn> = (0..n)
            .map(|_| {
                let mut b = next().to_le_bytes();
                b[1] &= 0x77;
                b[3] = 0;
                b[2] &= 1;
                Insn::from_bytes(b)
            })
            .collect();
        compiled += u32::from(jit::compile(&single(&p, 512), &Maps::default(), &host, 0).is_ok());
    }
    assert!(compiled > 1000, "{compiled}");
}
