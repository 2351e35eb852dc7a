//! The machine code of some small programs as reviewed text. `BLESS=1` rewrites
//! `tests/blessed/*.txt`; review the difference.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod jit_support;

use bpf_core::asm::assemble;
use bpf_core::jit::{self, Features, Target};
use bpf_core::program::{Fact, MapDesc, Program};
use bpf_core::uapi::MapType;
use iced_x86::{Decoder, DecoderOptions, Formatter, IntelFormatter};
use jit_support::world::{Maps, functions};
use std::fmt::Write;
use std::path::Path;

const BASE: u64 = 0x4000_0000;

struct Fixed;

impl Target for Fixed {
    fn helper(&self, id: u32) -> Option<u64> {
        Some(0x4010_0000 + u64::from(id & 0xffff) * 0x100)
    }

    fn features(&self) -> Features {
        Features { bmi2: true }
    }
}

/// An array of 24-byte elements far from the code.
fn maps() -> Maps {
    Maps(vec![MapDesc {
        handle: 1,
        map_type: MapType::Array,
        key_size: 4,
        value_size: 24,
        max_entries: 64,
        flags: 0,
        frozen: false,
        spin_lock_off: None,
        inner: None,
        object_addr: 0x7000_0000_0000,
        values_addr: 0x7000_0001_0000,
        value_stride: 24,
    }])
}

const PROGRAMS: [(&str, &[u32], &str); 13] = [
    ("return", &[0], "r0 = 2\n exit"),
    (
        "packet_length",
        &[0],
        "r2 = *(u32 *)(r1 +4)\n r1 = *(u32 *)(r1 +0)\n r3 = r1\n r3 += 14\n r0 = 1
         if r3 > r2 goto out\n r0 = *(u16 *)(r1 +12)\n r0 = be16 r0\n out: exit",
    ),
    (
        "divide",
        &[0],
        "r0 = r1\n r0 /= r2\n r3 = r1\n w3 s%= w2\n r0 += r3\n r0 %= 16\n r0 /= 10\n exit",
    ),
    (
        "shift",
        &[0],
        "r0 = r1\n r0 <<= r2\n w1 >>= w3\n r0 s>>= 3\n r0 ^= r1\n exit",
    ),
    (
        "rotate",
        &[0],
        "w2 = w1\n w2 >>= 25\n w0 = w1\n w0 <<= 7\n w0 |= w2\n exit",
    ),
    (
        "select",
        &[0],
        "w0 = 1\n if r1 > r2 goto +1\n w0 = 0\n w0 <<= 5\n exit",
    ),
    (
        "narrow",
        &[0],
        "r1 <<= 32\n r1 >>= 32\n w0 = w1\n w2 = w0\n r0 += r2\n exit",
    ),
    (
        "table_loop",
        &[0],
        "r1 = 0\n r0 = 0\n again:\n r2 = 0x700000020000 ll\n r2 += r1
         r2 = *(u8 *)(r2 +0)\n r0 += r2\n r1 += 1\n if r1 != 0x100 goto again\n exit",
    ),
    (
        "loop_head",
        &[0],
        "r1 = 0\n r0 = 0\n goto body\n head:\n w1 += 3\n r2 = r1\n if w1 == 0x300 goto out
         body:\n r0 += r1\n r0 ^= 1\n goto head\n out: exit",
    ),
    (
        "array_lookup",
        &[0],
        "*(u32 *)(r10 -4) = r1\n r2 = r10\n r2 += -4\n r1 = 0x700000000000 ll\n call 1
         if r0 == 0 goto out\n r1 = 1\n lock *(u64 *)(r0 +0) += r1\n r0 = 0\n out: exit",
    ),
    ("helper", &[0], "r6 = r1\n call 5\n r0 += r6\n exit"),
    (
        "function",
        &[0, 5],
        "r6 = r1\n r1 = 7\n call pc+2\n r0 += r6\n exit\n
         r6 = r1\n *(u64 *)(r10 -8) = r6\n call 5\n r0 = r6\n exit",
    ),
    (
        "tail_call",
        &[0],
        "r2 = 0x700000000000 ll\n r3 = 2\n call 12\n r0 = 0\n exit",
    ),
];

fn program(starts: &[u32], text: &str) -> Program {
    let insns = assemble(text).unwrap_or_else(|e| panic!("{e:?} in {text}"));
    let mut prog = functions(&insns, starts, 16);
    for (insn, fact) in prog.insns.iter().zip(&mut prog.facts) {
        if (insn.opcode, insn.imm) == (0x85, 1) && insn.src == 0 {
            *fact = Fact {
                map: Some(1),
                key: None,
            };
        }
    }
    prog
}

/// BPF instructions, each with what it became.
fn listing(prog: &Program) -> String {
    let code = jit::compile(prog, &maps(), &Fixed, BASE).expect("it compiles");
    let bpf = bpf_core::disasm::listing(&prog.insns);
    let mut out = String::new();
    let mut formatter = IntelFormatter::new();
    let mut decoder = Decoder::with_ip(64, &code.bytes, BASE, DecoderOptions::NONE);
    for i in decoder.iter() {
        let at = (i.ip() - BASE) as u32;
        for (n, _) in code
            .insn_offsets
            .iter()
            .enumerate()
            .filter(|(_, o)| **o == at)
        {
            let prefix = format!("{n}: ");
            for line in bpf.lines().filter(|l| l.trim_start().starts_with(&prefix)) {
                writeln!(out, "; {}", line.trim()).unwrap();
            }
        }
        let mut text = String::new();
        formatter.format(&i, &mut text);
        writeln!(out, "{at:6x}  {text}").unwrap();
    }
    out
}

#[test]
fn code_is_as_reviewed() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/blessed");
    for (name, starts, text) in PROGRAMS {
        let path = dir.join(format!("{name}.txt"));
        let now = listing(&program(starts, text));
        if std::env::var_os("BLESS").is_some() {
            std::fs::write(&path, now).unwrap();
            continue;
        }
        let then = std::fs::read_to_string(&path).expect("a blessed listing; BLESS=1 writes it");
        assert_eq!(
            now, then,
            "{name}: BLESS=1 rewrites the listing, then review it"
        );
    }
}
