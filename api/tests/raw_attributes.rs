//! The interface of 2014: lists of attributes, fixups, and what is wrong with
//! them. Needs a usable /dev/kvm.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

use bpfvisor::Vm;
use bpfvisor::insn::Insn;
use bpfvisor::raw::{self, Refused, bpf_attrs, bpf_elem, map_attr, prog_attr};
use bpfvisor::uapi::{Cmd, MapType, ProgType, errno};

const LOAD: u32 = Cmd::ProgLoad as u32;
const CREATE: u32 = Cmd::MapCreate as u32;
const XDP: u32 = ProgType::Xdp as u32;

fn vm() -> Vm {
    let vm = Vm::builder().memory(64 << 20).boot();
    vm.unwrap_or_else(|e| panic!("these tests need a usable /dev/kvm: {e}"))
}

fn attribute(list: &mut Vec<u8>, kind: u16, contents: &[u8]) {
    list.extend((contents.len() as u16 + 4).to_ne_bytes());
    list.extend(kind.to_ne_bytes());
    list.extend(contents);
    list.resize(list.len().next_multiple_of(4), 0);
}

fn numbers(pairs: &[(u16, u32)]) -> Vec<u8> {
    let mut list = Vec::new();
    for (kind, number) in pairs {
        attribute(&mut list, *kind, &number.to_ne_bytes());
    }
    list
}

fn good_map() -> Vec<u8> {
    numbers(&[
        (map_attr::KEY_SIZE, 4),
        (map_attr::VALUE_SIZE, 8),
        (map_attr::MAX_ENTRIES, 16),
    ])
}

fn create(vm: &Vm) -> i32 {
    bpf_attrs(vm, CREATE, MapType::Hash as u32, &good_map(), 0).unwrap() as i32
}

fn refused(vm: &Vm, cmd: u32, kind: u32, list: &[u8], flags: u32) -> Refused {
    bpf_attrs(vm, cmd, kind, list, flags).unwrap_err()
}

#[test]
fn maps_and_their_elements() {
    let vm = vm();
    let fd = create(&vm);
    let elem = |cmd: Cmd, key: &[u8], value: &mut [u8]| bpf_elem(&vm, cmd as u32, fd, key, value);
    let mut value = 7u64.to_ne_bytes();
    elem(Cmd::MapUpdateElem, &[1, 0, 0, 0], &mut value).unwrap();
    let mut out = [0; 8];
    elem(Cmd::MapLookupElem, &[1, 0, 0, 0], &mut out).unwrap();
    assert_eq!(out, value);
    let mut next = [0; 4];
    elem(Cmd::MapGetNextKey, &[], &mut next).unwrap();
    assert_eq!(next, [1, 0, 0, 0]);
    elem(Cmd::MapDeleteElem, &next, &mut []).unwrap();
    let gone = elem(Cmd::MapLookupElem, &next, &mut out).unwrap_err();
    assert_eq!(gone.errno, errno::ENOENT);
    let short = elem(Cmd::MapLookupElem, &next[..3], &mut out).unwrap_err();
    assert_eq!(short.errno, errno::EINVAL);
}

#[test]
fn every_bad_list_has_its_own_error() {
    let vm = vm();
    let hash = MapType::Hash as u32;
    let good = good_map();
    let with = |extra: &[u8]| [good.as_slice(), extra].concat();
    let word = |len: u16, kind: u16| [len.to_ne_bytes(), kind.to_ne_bytes()].concat();
    let cases: [(&str, Vec<u8>, i32, &str); 10] = [
        (
            "unknown",
            with(&numbers(&[(9, 1)])),
            errno::EINVAL,
            "unknown type 9 at byte 24",
        ),
        (
            "nested",
            with(&numbers(&[(0x8001, 1)])),
            errno::EINVAL,
            "unknown type 32769",
        ),
        (
            "duplicate",
            with(&numbers(&[(1, 4)])),
            errno::EINVAL,
            "KEY_SIZE at byte 24 is there a second",
        ),
        (
            "half a header",
            with(&[8, 0]),
            errno::EINVAL,
            "truncated: 2 bytes at byte 24",
        ),
        (
            "no contents",
            with(&word(8, 9)),
            errno::EINVAL,
            "byte 24 is truncated",
        ),
        (
            "length 3",
            with(&word(3, 9)),
            errno::EINVAL,
            "less than its header",
        ),
        (
            "short number",
            [word(6, 1), vec![4, 0]].concat(),
            errno::EINVAL,
            "KEY_SIZE at byte 0 is misaligned",
        ),
        (
            "long number",
            [word(12, 1), vec![0; 8]].concat(),
            errno::E2BIG,
            "KEY_SIZE at byte 0 is oversized",
        ),
        (
            "missing",
            good[..16].to_vec(),
            errno::EINVAL,
            "MAX_ENTRIES is missing",
        ),
        ("empty", Vec::new(), errno::EINVAL, "KEY_SIZE is missing"),
    ];
    for (what, list, errno, text) in cases {
        let e = refused(&vm, CREATE, hash, &list, 0);
        assert_eq!(e.errno, errno, "{what}: {e}");
        assert!(e.message.contains(text), "{what}: {e}");
    }
    let e = refused(&vm, CREATE, hash, &good, 4);
    assert!(e.message.contains("flags 0x4"), "{e}");
    assert_eq!(refused(&vm, CREATE, 999, &good, 0).errno, errno::EINVAL);
    let e = refused(&vm, Cmd::MapFreeze as u32, hash, &good, 0);
    assert!(e.message.contains("takes no attributes"), "{e}");
    let e = refused(&vm, LOAD, XDP, &[], 0);
    assert!(e.message.contains("TEXT is missing"), "{e}");
}

fn insn(opcode: u8, dst: u8, src: u8, off: i16, imm: i32) -> Insn {
    Insn::new(opcode, dst, src, off, imm)
}

/// Stores 1 under key 5 in the map that R1 is made to hold by `name_map`.
fn store(name_map: &[Insn]) -> Vec<Insn> {
    [
        &[
            insn(0x62, 10, 0, -4, 5),  // *(u32 *)(r10 - 4) = 5
            insn(0x7a, 10, 0, -16, 1), // *(u64 *)(r10 - 16) = 1
        ],
        name_map,
        &[
            insn(0xbf, 2, 10, 0, 0),
            insn(0x07, 2, 0, 0, -4),
            insn(0xbf, 3, 10, 0, 0),
            insn(0x07, 3, 0, 0, -16),
            insn(0xb7, 4, 0, 0, 0),
            insn(0x55, 4, 0, 1, 0), // to the exit's mov, never
            insn(0x85, 0, 0, 0, 2), // map_update_elem
            insn(0xb7, 0, 0, 0, 2),
            insn(0x95, 0, 0, 0, 0),
        ],
    ]
    .concat()
}

fn program(insns: &[Insn], fixups: &[(u32, i32)]) -> Vec<u8> {
    let mut list = Vec::new();
    let text: Vec<u8> = insns.iter().flat_map(|i| i.to_bytes()).collect();
    attribute(&mut list, prog_attr::TEXT, &text);
    attribute(&mut list, prog_attr::LICENSE, b"GPL");
    let table: Vec<u8> = fixups
        .iter()
        .flat_map(|(i, fd)| [i.to_ne_bytes(), fd.to_ne_bytes()].concat())
        .collect();
    if !table.is_empty() {
        attribute(&mut list, prog_attr::MAP_FIXUP, &table);
    }
    list
}

/// Runs over an empty frame by the raw command.
fn run(vm: &Vm, fd: i64) -> u32 {
    let session = raw::Session::new(vm, raw::Space::new(4096, 4096));
    let mut attr = [0; 80];
    attr[..4].copy_from_slice(&(fd as u32).to_ne_bytes());
    attr[8..12].copy_from_slice(&64u32.to_ne_bytes());
    attr[16..24].copy_from_slice(&4096u64.to_ne_bytes());
    raw::bpf(&session, Cmd::ProgTestRun as u32, &mut attr).unwrap();
    u32::from_ne_bytes(attr[4..8].try_into().unwrap())
}

#[test]
fn a_fixup_names_a_mov_a_load_or_a_call() {
    let vm = vm();
    let mov = store(&[insn(0xb7, 1, 0, 0, 0)]);
    let wide = store(&[insn(0x18, 1, 0, 0, 0), insn(0, 0, 0, 0, 0)]);
    let call = store(&[]);
    for (insns, named) in [(mov, 2), (wide, 2), (call, 8)] {
        let map = create(&vm);
        let list = program(&insns, &[(named, map)]);
        let prog = bpf_attrs(&vm, LOAD, XDP, &list, 0).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(run(&vm, prog), 2);
        let mut value = [0; 8];
        let key = 5u32.to_ne_bytes();
        bpf_elem(&vm, Cmd::MapLookupElem as u32, map, &key, &mut value).unwrap();
        assert_eq!(u64::from_ne_bytes(value), 1);
    }
}

#[test]
fn bad_fixups_name_the_instruction() {
    let vm = vm();
    let map = create(&vm);
    let call = store(&[]);
    for (fixups, errno, text) in [
        (vec![(8, 9999)], errno::EBADF, "instruction 8: fd 9999"),
        (
            vec![(3, map)],
            errno::EINVAL,
            "instruction 3: a fixup must name",
        ),
        (vec![(99, map)], errno::EINVAL, "instruction 99"),
        (
            vec![(8, map), (8, map)],
            errno::EINVAL,
            "named by two fixups",
        ),
    ] {
        let e = refused(&vm, LOAD, XDP, &program(&call, &fixups), 0);
        assert_eq!(e.errno, errno, "{e}");
        assert!(e.message.contains(text), "{e}");
    }
}
