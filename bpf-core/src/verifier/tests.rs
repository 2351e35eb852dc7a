//! The verdicts on the programs in `cases/`, which are those of Linux 6.18.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
use super::*;
use crate::asm::assemble;
use crate::program::{FlatMemory, MapDesc};
use crate::uapi::MapType::{self, *};
use crate::uapi::{ProgType, map_flags};
use std::format;
use std::string::String;
use std::vec::Vec;

/// The maps that the cases use, by handle.
struct Maps(Vec<MapDesc>);

/// Contents of map 7.
const TEXT: &[u8; 16] = b"hello %d\n\0abcdef";

impl Maps {
    fn new() -> Self {
        let plain = |map_type: MapType, key_size, value_size, max_entries, flags| MapDesc {
            handle: 0,
            map_type,
            key_size,
            value_size,
            max_entries,
            flags,
            frozen: false,
            spin_lock_off: None,
            inner: None,
            object_addr: 0,
            values_addr: 0,
            value_stride: value_size,
        };
        let lock = |m: MapDesc| MapDesc {
            spin_lock_off: Some(4),
            ..m
        };
        let mut all = std::vec![
            plain(Hash, 8, 48, 16, 0),
            plain(Array, 4, 48, 8, 0),
            plain(ProgArray, 4, 4, 4, 0),
            plain(Array, 4, 64, 1, 0),
            MapDesc {
                inner: Some(1),
                ..plain(ArrayOfMaps, 4, 4, 2, 0)
            },
            plain(Ringbuf, 0, 0, 4096, 0),
            lock(plain(Array, 4, 8, 2, 0)),
            MapDesc {
                frozen: true,
                ..plain(Array, 4, 16, 1, map_flags::RDONLY_PROG)
            },
            plain(Array, 4, 48, 1, map_flags::WRONLY_PROG),
            plain(Queue, 0, 8, 4, 0),
            plain(LpmTrie, 8, 8, 4, map_flags::NO_PREALLOC),
            plain(PercpuArray, 4, 16, 4, 0),
            plain(PerfEventArray, 4, 4, 2, 0),
            lock(plain(Hash, 4, 8, 4, 0)),
            plain(Array, 4, 48, 1, map_flags::RDONLY_PROG),
            plain(Hash, 16, 8, 4, 0),
        ];
        for (nr, m) in all.iter_mut().enumerate() {
            m.handle = nr as u32;
        }
        Self(all)
    }
}

impl MapTable for Maps {
    fn map(&self, handle: u32) -> Option<MapDesc> {
        self.0.get(handle as usize).cloned()
    }

    fn read_constant(&self, handle: u32, off: u32, size: u32) -> Option<u64> {
        if handle != 7 {
            return None;
        }
        let bytes = TEXT.get(off as usize..(off + size) as usize)?;
        Some(bytes.iter().rev().fold(0, |v, b| v << 8 | u64::from(*b)))
    }
}

fn judge(kind: &str, text: &str) -> String {
    let (kind, flags) = match kind.strip_suffix("!strict") {
        Some(k) => (k, crate::uapi::prog_flags::STRICT_ALIGNMENT),
        None => (kind, 0),
    };
    let (kind, gpl) = match kind.strip_suffix("!prop") {
        Some(k) => (k, false),
        None => (kind, true),
    };
    let insns = assemble(text).expect(text);
    let desc = ProgramDesc {
        insns: &insns,
        prog_type: ProgType::from_name(kind).unwrap(),
        attach_type: 0,
        flags,
        gpl,
        flat: FlatMemory { min: 64, max: 128 },
        global_funcs: &[0],
    };
    let opts = Options {
        log_level: 0,
        insn_budget: 60_000,
        out_of_time: &|| false,
    };
    match verify(&desc, &Maps::new(), &opts).verdict {
        Ok(_) => "accept".into(),
        Err(r) if r.unsupported => "unsupported".into(),
        Err(r) => format!("reject {}", r.errno),
    }
}

fn check(file: &str) {
    let mut wrong = Vec::new();
    for case in file.split("\n@ ").skip(1) {
        let (head, rest) = case.split_once('\n').unwrap();
        let (kind, name) = head.split_once(' ').unwrap();
        let (text, expected) = rest.split_once("\n= ").unwrap();
        let got = judge(kind, text);
        if got != expected.trim() {
            wrong.push(format!("{name}: {got}, expected {}", expected.trim()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// As [`check`], for files with one program a line.
fn check_lines(file: &str) {
    let mut wrong = Vec::new();
    let lines = file
        .lines()
        .filter(|l| !l.is_empty() && !l.starts_with('#'));
    for line in lines {
        let (head, rest) = line.split_once(" | ").unwrap();
        let (kind, name) = head.split_once(' ').unwrap();
        let (text, expected) = rest.rsplit_once(" = ").unwrap();
        let got = judge(kind, &expand(text));
        if got != expected {
            wrong.push(format!("{name}: {got}, expected {expected}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Writes the shorthand out, one instruction a line.
fn expand(text: &str) -> String {
    let mut out = String::new();
    for statement in text.split(';').map(str::trim).filter(|s| !s.is_empty()) {
        let (label, rest) = match statement.split_once(": ") {
            Some((label, rest)) => (Some(label), rest),
            None => (None, statement),
        };
        if let Some(label) = label {
            out += &format!("{label}: ");
        }
        let (word, arg) = rest.split_once(' ').unwrap_or((rest, "0"));
        out += &shorthand(word, arg).unwrap_or_else(|| rest.into());
        out.push('\n');
    }
    out
}

/// What a word stands for: `look M` looks key 0 up in map M, `val M` leaves for
/// `out` if there is no value, `pkt N` checks N bytes from R2 of a packet,
/// `rnd R` makes R unknown, `resv N` reserves ring buffer memory, `ret N` ends.
fn shorthand(word: &str, arg: &str) -> Option<String> {
    let lookup = "*(u64 *)(r10 -8) = 0\nr2 = r10\nr2 += -8";
    Some(match word {
        "look" => format!("{lookup}\nr1 = map[id:{arg}]\ncall bpf_map_lookup_elem"),
        "val" => {
            format!("{lookup}\nr1 = map[id:{arg}]\ncall bpf_map_lookup_elem\nif r0 == 0 goto out")
        }
        "pkt" => format!(
            "r2 = *(u32 *)(r1 +0)\nr3 = *(u32 *)(r1 +4)\nr4 = r2\nr4 += {arg}\nif r4 > r3 goto out"
        ),
        "rnd" => format!("call bpf_get_prandom_u32\n{arg} = r0"),
        "resv" => format!("r1 = map[id:5]\nr2 = {arg}\nr3 = 0\ncall bpf_ringbuf_reserve"),
        "ret" => format!("r0 = {arg}\nexit"),
        _ => return None,
    })
}

#[test]
fn numbers_and_context_fields() {
    check_lines(include_str!("cases/numbers.txt"));
}

#[test]
fn packets_and_helper_memory() {
    check_lines(include_str!("cases/access.txt"));
}

#[test]
fn references_ids_and_precision() {
    check_lines(include_str!("cases/resources.txt"));
}

#[test]
fn spills_pointers_and_atomics() {
    check_lines(include_str!("cases/memory.txt"));
}

#[test]
fn loops_locks_and_calls() {
    check_lines(include_str!("cases/flow.txt"));
}

#[test]
fn shapes_of_known_holes() {
    check_lines(include_str!("cases/cve.txt"));
}

#[test]
fn known_false_rejects_are_still_rejected() {
    check_lines(include_str!("cases/known.txt"));
}

#[test]
fn programs_that_never_come_to_an_end_stop_at_the_budget() {
    // Every round differs, forks, and changes the stack somewhere else.
    let text = expand(
        "r9 = r1; r7 = 0; r8 = 0; a: r0 = *(u32 *)(r9 +0); if r0 == 5 goto b; r8 += 1; \
         *(u64 *)(r10 -8) = r8; b: r7 += 1; r1 = r10; r2 = r8; r2 &= 63; r1 += -72; r1 += r2; \
         *(u8 *)(r1 +0) = 1; if r7 < 100000 goto a; ret",
    );
    assert_eq!(judge("socket_filter", &text), "reject 7");
}

#[test]
fn reasons_are_one_line_and_logs_may_have_two() {
    let text = expand("val 1; r0 = *(u64 *)(r0 +41); out: ret");
    let insns = assemble(&text).unwrap();
    let desc = ProgramDesc {
        insns: &insns,
        prog_type: ProgType::Xdp,
        attach_type: 0,
        flags: 0,
        gpl: true,
        flat: FlatMemory::default(),
        global_funcs: &[],
    };
    let opts = Options {
        log_level: 1,
        insn_budget: 1000,
        out_of_time: &|| false,
    };
    let outcome = verify(&desc, &Maps::new(), &opts);
    let reason = outcome.verdict.unwrap_err().reason;
    let (access, bound) = (
        "invalid access to map value, value_size=48 off=41 size=8",
        "R0 min value is outside of the allowed memory range",
    );
    assert_eq!(reason, format!("{access}: {bound}"));
    assert!(outcome.log.contains(&format!("{access}\n{bound}\n")));
}

#[test]
fn bounds_and_stack() {
    check(include_str!("cases/bounds.txt"));
}

#[test]
fn packets_and_contexts() {
    check(include_str!("cases/packet.txt"));
}

#[test]
fn calls_loops_and_resources() {
    check(include_str!("cases/calls.txt"));
}

#[test]
fn callbacks_and_pruning() {
    check(include_str!("cases/callbacks.txt"));
}
