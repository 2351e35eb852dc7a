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
