//! Scripts about programs.

use crate::script::{Attr, GPL, NOWHERE, Script, addr, addr_mut, load_attr, text};
use bpf_core::insn::Insn;
use bpf_core::uapi::Cmd;
use bpfvisor_tests::kernel::btf::Blob;
use std::os::fd::AsRawFd;

pub const XDP: u32 = 6;
pub const SOCKET_FILTER: u32 = 1;

fn insn(opcode: u8, dst: u8, src: u8, off: i16, imm: i32) -> Insn {
    Insn::new(opcode, dst, src, off, imm)
}

pub fn ret(value: i32) -> Vec<Insn> {
    vec![insn(0xb7, 0, 0, 0, value), insn(0x95, 0, 0, 0, 0)]
}

pub fn load_map(src: u8, imm: i32) -> Vec<Insn> {
    [
        vec![insn(0x18, 1, src, 0, imm), insn(0, 0, 0, 0, 0)],
        ret(2),
    ]
    .concat()
}

pub fn load(s: &mut Script<'_>) {
    let good = text(&ret(2));
    let bad = text(&[insn(0xbf, 0, 5, 0, 0), insn(0x95, 0, 0, 0, 0)]);
    let attr = || load_attr(XDP, &good);
    let null = std::fs::File::open("/dev/null").unwrap();
    let mut log = [0u8; 4096];
    let l = addr_mut(&mut log);
    let cases = [
        ("good", attr()),
        ("short", Attr(attr().0[..24].to_vec())),
        ("none", Attr(Vec::new())),
        ("trailing", Attr([attr().0, vec![1]].concat())),
        ("no instructions", attr().u32(4, 0)),
        ("too many", attr().u32(4, 1_000_001)),
        ("text nowhere", attr().u64(8, NOWHERE)),
        ("text null", attr().u64(8, 0)),
        ("license nowhere", attr().u64(16, NOWHERE)),
        ("license null", attr().u64(16, 0)),
        ("flags", attr().u32(44, 1 << 20)),
        ("strict alignment", attr().u32(44, 1)),
        ("type 999", attr().u32(0, 999)),
        ("bad name", attr().bytes(48, b"a-b")),
        ("long name", attr().bytes(48, b"abcdefghijklmnop")),
        ("log without size", attr().u32(24, 1).u64(32, l)),
        ("log without buffer", attr().u32(24, 1).u32(28, 100)),
        ("log without level", attr().u32(28, 4096).u64(32, l)),
        ("log level 16", attr().u32(24, 16).u32(28, 4096).u64(32, l)),
        ("huge log", attr().u32(24, 1).u32(28, -1).u64(32, l)),
        ("level without log", attr().u32(24, 1)),
        (
            "log nowhere",
            attr().u32(24, 1).u32(28, 4096).u64(32, NOWHERE),
        ),
        ("log", attr().u32(24, 1).u32(28, 4096).u64(32, l)),
        ("short log", attr().u32(24, 1).u32(28, 8).u64(32, l)),
        ("attach to", attr().u32(108, 1)),
        ("attach to no program", attr().u32(112, 9999)),
        (
            "func_info, no btf",
            attr().u32(72, 9999).u32(76, 8).u64(80, l).u32(88, 1),
        ),
        (
            "line_info, no btf",
            attr()
                .u32(72, null.as_raw_fd())
                .u32(92, 16)
                .u64(96, l)
                .u32(104, 1),
        ),
        ("bad program", load_attr(XDP, &bad)),
        (
            "bad program, log",
            load_attr(XDP, &bad).u32(24, 1).u32(28, 4096).u64(32, l),
        ),
        (
            "bad program, short log",
            load_attr(XDP, &bad).u32(24, 1).u32(28, 4).u64(32, l),
        ),
    ];
    for (what, mut attr) in cases {
        s.open_in(what, Cmd::ProgLoad, &mut attr);
        if attr.0.len() >= 144 {
            s.note("size of the log", attr.word(140));
        }
    }
}

pub fn descriptors(s: &mut Script<'_>) {
    let map = s.map(1, 4, 8, 2, 0);
    let program = s.program(XDP, &ret(2));
    let null = std::fs::File::open("/dev/null").unwrap();
    let fds: Vec<u8> = [map, program, 9999, null.as_raw_fd()]
        .iter()
        .flat_map(|f| f.to_ne_bytes())
        .collect();
    for (what, src, imm) in [
        ("map", 1, map),
        ("program", 1, program),
        ("not open", 1, 9999),
        ("negative", 1, -1),
        ("not ours", 1, null.as_raw_fd()),
        ("hash value", 2, map),
        ("index", 5, 0),
        ("index of a program", 5, 1),
        ("index not open", 5, 2),
    ] {
        let text = text(&load_map(src, imm));
        s.open(
            what,
            Cmd::ProgLoad,
            load_attr(XDP, &text).u64(120, addr(&fds)),
        );
        s.open(
            &format!("{what}, no array"),
            Cmd::ProgLoad,
            load_attr(XDP, &text),
        );
        let nowhere = load_attr(XDP, &text).u64(120, NOWHERE);
        s.open(&format!("{what}, array nowhere"), Cmd::ProgLoad, nowhere);
        let counted = load_attr(XDP, &text).u64(120, addr(&fds)).u32(148, 1);
        s.open(&format!("{what}, counted"), Cmd::ProgLoad, counted);
    }
    let text = text(&ret(2));
    for (what, count) in [("program bound", 2), ("all bound", 4)] {
        let attr = load_attr(XDP, &text).u64(120, addr(&fds)).u32(148, count);
        s.open(what, Cmd::ProgLoad, attr);
    }
}

pub fn run(s: &mut Script<'_>) {
    let xdp = s.program(XDP, &ret(2));
    let filter = s.program(SOCKET_FILTER, &ret(64));
    let map = s.map(1, 4, 8, 2, 0);
    let data = [7u8; 256];
    let mut out = [0u8; 256];
    let (d, to) = (addr(&data), addr_mut(&mut out));
    let zeros = [0u8; 512];
    let z = addr(&zeros);
    for prog in [xdp, filter] {
        let base = |len: u32| Attr::new(80).u32(0, prog).u32(8, len).u64(16, d);
        for (what, mut attr) in [
            ("64 bytes", base(64)),
            ("15 bytes", base(15)),
            ("14 bytes", base(14)),
            ("13 bytes", base(13)),
            ("no bytes", base(0)),
            ("data nowhere", base(64).u64(16, NOWHERE)),
            ("repeat", base(64).u32(32, 10)),
            ("out", base(64).u64(24, to).u32(12, 256)),
            ("out, no size", base(64).u64(24, to)),
            ("out, exact", base(64).u64(24, to).u32(12, 64)),
            ("out, short", base(64).u64(24, to).u32(12, 63)),
            ("no out, short", base(64).u32(12, 63)),
            ("out nowhere", base(64).u64(24, NOWHERE).u32(12, 64)),
            ("ctx without size", base(64).u64(48, z)),
            ("ctx size alone", base(64).u32(40, 24)),
            ("ctx out without size", base(64).u64(56, to)),
            ("ctx out size alone", base(64).u32(44, 24)),
            ("ctx nowhere", base(64).u64(48, NOWHERE).u32(40, 24)),
            ("ctx over a page", base(64).u64(48, z).u32(40, 5000)),
            ("flags", base(64).u32(64, 1 << 5)),
            ("cpu", base(64).u32(68, 1)),
            ("batch", base(64).u32(72, 1)),
            ("trailing", base(64).u32(76, 1)),
            ("a map", base(64).u32(0, map)),
            ("not open", base(64).u32(0, 9999)),
        ] {
            out.fill(0);
            let _ = s.call(what, Cmd::ProgTestRun, &mut attr);
            s.note(
                "retval, sizes",
                (attr.word(4), attr.word(12), attr.word(44)),
            );
            s.note("out", out[..70].to_vec());
        }
    }
    contexts(s, xdp, filter, d);
}

fn contexts(s: &mut Script<'_>, xdp: i32, filter: i32, data: u64) {
    let mut ctx = [0u8; 256];
    let mut out = [0u8; 256];
    let to = addr_mut(&mut out);
    let xdp_end = |end: u32| {
        let mut c = [0u8; 256];
        c[4..8].copy_from_slice(&end.to_ne_bytes());
        c
    };
    for (what, prog, bytes, size_in, size_out) in [
        ("whole", xdp, xdp_end(64), 24, 24),
        ("end beyond", xdp, xdp_end(65), 24, 24),
        ("short out", xdp, xdp_end(64), 24, 10),
        ("long in", xdp, xdp_end(64), 40, 64),
        ("sk_buff", filter, [0; 256], 192, 192),
        ("short sk_buff", filter, [0; 256], 20, 100),
        ("long sk_buff", filter, [0; 256], 200, 200),
        ("len set", filter, xdp_end(0).map(|_| 1), 4, 192),
    ] {
        ctx.copy_from_slice(&bytes);
        out.fill(0);
        let mut attr = Attr::new(80)
            .u32(0, prog)
            .u32(8, 64)
            .u64(16, data)
            .u32(40, size_in)
            .u32(44, size_out)
            .u64(48, addr(&ctx))
            .u64(56, to);
        let _ = s.call(what, Cmd::ProgTestRun, &mut attr);
        s.note(
            "retval, sizes",
            (attr.word(4), attr.word(12), attr.word(44)),
        );
    }
    let mut long = [0u8; 256];
    long[4] = 64;
    long[30] = 1;
    let mut attr = Attr::new(80)
        .u32(0, xdp)
        .u32(8, 64)
        .u64(16, data)
        .u32(40, 40)
        .u64(48, addr(&long));
    let _ = s.call("not zero behind the context", Cmd::ProgTestRun, &mut attr);
}

pub fn info(s: &mut Script<'_>) {
    let map = s.map(1, 4, 8, 2, 0);
    let program = s.program(XDP, &load_map(1, map));
    let mut info = [0u8; 256];
    let mut ids = [0u8; 8];
    let to = addr_mut(&mut info);
    for (what, len) in [("whole", 232u32), ("short", 60), ("long", 256)] {
        info.fill(0);
        if len == 232 {
            info[52..56].copy_from_slice(&2u32.to_ne_bytes());
            info[56..64].copy_from_slice(&addr_mut(&mut ids).to_ne_bytes());
        }
        let mut attr = Attr::new(16).u32(0, program).u32(4, len).u64(8, to);
        let _ = s.call(what, Cmd::ObjGetInfoByFd, &mut attr);
        s.note("length", attr.word(4));
        s.note("type", info[..4].to_vec());
        s.note("tag", info[8..16].to_vec());
        s.note("maps", info[52..56].to_vec());
        s.note("name", info[64..80].to_vec());
        s.note("gpl", info[84] & 1);
        s.note("an id of a map", ids != [0; 8]);
    }
    let mut known = [0u8; 104];
    let to_known = addr_mut(&mut known);
    let mut attr = Attr::new(16).u32(0, map).u32(4, 104).u64(8, to_known);
    let _ = s.call("of the map", Cmd::ObjGetInfoByFd, &mut attr);
    let mut text = [0u8; 64];
    for (what, room, at) in [
        ("dump", 64u32, addr_mut(&mut text)),
        ("nowhere", 64, NOWHERE),
    ] {
        info.fill(0);
        info[20..24].copy_from_slice(&room.to_ne_bytes());
        info[32..40].copy_from_slice(&at.to_ne_bytes());
        let mut attr = Attr::new(16).u32(0, program).u32(4, 232).u64(8, to);
        let _ = s.call(what, Cmd::ObjGetInfoByFd, &mut attr);
        s.note("the last instruction", text[24..32].to_vec());
        s.note("the map by its id", text[4..8] == known[4..8]);
        s.note("the load", [&text[..4], &text[8..16]].concat());
    }
}

pub fn statistics(s: &mut Script<'_>) {
    let program = s.program(XDP, &ret(2));
    let data = [7u8; 64];
    let mut info = [0u8; 232];
    let to = addr_mut(&mut info);
    let counted = |s: &mut Script<'_>, info: &mut [u8; 232]| {
        let mut run = Attr::new(80)
            .u32(0, program)
            .u32(8, 64)
            .u64(16, addr(&data))
            .u32(32, 5);
        let _ = s.call("run", Cmd::ProgTestRun, &mut run);
        info.fill(0);
        let mut attr = Attr::new(16).u32(0, program).u32(4, 232).u64(8, to);
        let _ = s.call("info", Cmd::ObjGetInfoByFd, &mut attr);
        let count = u64::from_ne_bytes(info[200..208].try_into().unwrap());
        s.note("runs counted", count);
    };
    counted(s, &mut info);
    s.open("unknown", Cmd::EnableStats, Attr::new(4).u32(0, 7));
    s.open("trailing", Cmd::EnableStats, Attr::new(8).u32(4, 1));
    let fd = s.open("run time", Cmd::EnableStats, Attr::new(4));
    counted(s, &mut info);
    s.close(fd);
    counted(s, &mut info);
}

/// A program keeps its maps, whatever happens to their descriptors.
pub fn lifetimes(s: &mut Script<'_>) {
    let map = s.map(2, 4, 8, 1, 0);
    let bound = s.map(2, 4, 8, 1, 0);
    let reads = [
        &load_map(2, map)[..2],
        &[insn(0x79, 0, 1, 0, 0), insn(0x95, 0, 0, 0, 0)],
    ]
    .concat();
    let value = 77u64.to_ne_bytes();
    let key = [0u8; 4];
    let mut attr = crate::script::elem(map, addr(&key), addr(&value), 0);
    let _ = s.call("set", Cmd::MapUpdateElem, &mut attr);
    let text = text(&reads);
    let fds = bound.to_ne_bytes();
    let attr = load_attr(XDP, &text).u64(120, addr(&fds)).u32(148, 1);
    let program = s.open("program", Cmd::ProgLoad, attr);
    s.close(map);
    s.close(bound);
    let _ = s.call("closed", Cmd::MapFreeze, &mut Attr::new(4).u32(0, map));
    let data = [7u8; 64];
    let mut run = Attr::new(80)
        .u32(0, program)
        .u32(8, 64)
        .u64(16, addr(&data));
    let _ = s.call("run", Cmd::ProgTestRun, &mut run);
    s.note("value", run.word(4));
    let mut info = [0u8; 232];
    let at = addr_mut(&mut info);
    let mut attr = Attr::new(16).u32(0, program).u32(4, 232).u64(8, at);
    let _ = s.call("info", Cmd::ObjGetInfoByFd, &mut attr);
    s.note("maps", info[52]);
    s.close(program);
    let _ = s.call("closed", Cmd::ProgTestRun, &mut run);
}

pub fn commands(s: &mut Script<'_>) {
    s.number("unknown", 4711, &mut Attr::new(16));
    s.number("trailing", 4711, &mut Attr(vec![1; 200]));
    s.number(
        "license is there",
        5,
        &mut Attr::new(168).u64(16, addr(GPL)),
    );
}

/// BTF of `int`, `struct bpf_spin_lock { int val; }`, a value with such a lock,
/// and two functions, the second global.
pub fn btf() -> Vec<u8> {
    let strings = b"\0int\0bpf_spin_lock\0val\0value\0lock\0n\0f\0g\0";
    let at = |name: &[u8]| {
        let with_zeros = [&[0], name, &[0]].concat();
        let found = strings
            .windows(name.len() + 2)
            .position(|w| w == with_zeros);
        found.unwrap() as u32 + 1
    };
    let types: Vec<u32> = vec![
        at(b"int"),
        1 << 24,
        4,
        1 << 24 | 32, // 1: int
        at(b"bpf_spin_lock"),
        4 << 24 | 1,
        4,
        at(b"val"),
        1,
        0, // 2
        at(b"value"),
        4 << 24 | 2,
        8,
        at(b"lock"),
        2,
        0,
        at(b"n"),
        1,
        32, // 3
        0,
        13 << 24,
        1, // 4: int (void)
        at(b"f"),
        12 << 24,
        4, // 5: static int f(void)
        at(b"g"),
        12 << 24 | 1,
        4, // 6: int g(void)
    ];
    let len = types.len() as u32 * 4;
    let header = [0x1_eb9f, 24, 0, len, len, strings.len() as u32];
    let words = header.iter().chain(&types);
    let mut bytes: Vec<u8> = words.flat_map(|w| w.to_ne_bytes()).collect();
    bytes.extend(strings);
    bytes
}

/// Every type of map with types of key and value that fit and that do not.
fn map_types(s: &mut Script<'_>) {
    let mut b = Blob::default();
    let int = b.int("int", 4);
    let long = b.int("long", 8);
    let alias = b.add("u32", 8 << 24, int, &[]);
    let lock = b.structure("bpf_spin_lock", 4, &[("val", int, 0)]);
    let pair = b.structure("pair", 8, &[("a", int, 0), ("b", int, 32)]);
    let locked = b.structure("locked", 8, &[("l", lock, 0), ("n", int, 32)]);
    let late = b.structure("late", 8, &[("n", int, 0), ("l", lock, 32)]);
    let inside = b.structure("inside", 8, &[("in", locked, 0)]);
    let aliased = b.add("lock_t", 8 << 24, lock, &[]);
    let hidden = b.structure("hidden", 8, &[("l", aliased, 0), ("n", int, 32)]);
    let var = b.add("v", 14 << 24, long, &[1]);
    let section = b.add(".data", (15 << 24) | 1, 8, &[var, 0, 8]);
    let blob = b.bytes();
    let attr = Attr::new(40).u64(0, addr(&blob));
    let fd = s.open("types", Cmd::BtfLoad, attr.u32(16, blob.len() as u32));
    let values = [
        long, pair, locked, late, inside, hidden, var, section, int, 0, 99,
    ];
    for map_type in [1, 2, 3, 4, 6, 9, 11, 14, 16, 17, 22, 30] {
        let (key_size, value_size) = match map_type {
            3 | 4 | 14 | 16 | 17 | 25 => (4, 4),
            11 => (8, 8),
            22 | 23 | 30 => (0, 8),
            _ => (4, 8),
        };
        for key in [0, int, alias, pair] {
            for value in values {
                let last = if map_type < 3 { (1, 1 << 7) } else { (1, 0) };
                for (entries, flags) in [(2, 0), last] {
                    let flags = flags | u32::from(map_type == 11);
                    let map =
                        crate::script::map_attr(map_type, key_size, value_size, entries, flags);
                    let map = map.u32(48, fd).u32(52, key).u32(56, value);
                    let what = format!("{map_type}: types {key}, {value}; {entries}, {flags}");
                    let made = s.open(&what, Cmd::MapCreate, map);
                    s.close(made);
                }
            }
        }
    }
}

pub fn types(s: &mut Script<'_>) {
    let bytes = btf();
    let size = bytes.len() as u32;
    let good = || Attr::new(40).u64(0, addr(&bytes)).u32(16, size);
    let fd = s.open("good", Cmd::BtfLoad, good());
    for (what, attr) in [
        ("short", good().u32(16, size - 1)),
        ("empty", good().u32(16, 0)),
        ("huge", good().u32(16, (16 << 20) + 1)),
        ("nowhere", good().u64(0, NOWHERE)),
        ("flags", good().u32(32, 1)),
        ("log without size", good().u64(8, addr(&bytes)).u32(24, 1)),
        ("trailing", Attr([good().0, vec![1; 8]].concat())),
    ] {
        s.open(what, Cmd::BtfLoad, attr);
    }
    let map = |key: u32, value: u32| {
        let map = crate::script::map_attr(1, 4, 8, 2, 0).u32(48, fd);
        map.u32(52, key).u32(56, value)
    };
    for (key, value) in [(1, 3), (1, 1), (3, 3), (1, 99), (0, 3)] {
        s.open(
            &format!("types {key}, {value}"),
            Cmd::MapCreate,
            map(key, value),
        );
    }
    map_types(s);
    let locked = s.open("with a lock", Cmd::MapCreate, map(1, 3));
    let (key, value) = ([1u8, 0, 0, 0], [5u8; 8]);
    let mut out = [0u8; 8];
    for flags in [4, 0, 2] {
        let mut attr = crate::script::elem(locked, addr(&key), addr(&value), flags);
        let _ = s.call("update", Cmd::MapUpdateElem, &mut attr);
        let mut attr = crate::script::elem(locked, addr(&key), addr_mut(&mut out), 4);
        let _ = s.call("lookup", Cmd::MapLookupElem, &mut attr);
        s.note("value without lock", out);
    }
    functions(s, fd);
}

fn functions(s: &mut Script<'_>, fd: i32) {
    // main calls a function at 2.
    let insns = [
        insn(0x85, 0, 1, 0, 1),
        insn(0x95, 0, 0, 0, 0),
        insn(0xb7, 0, 0, 0, 2),
        insn(0x95, 0, 0, 0, 0),
    ];
    let text = text(&insns);
    let load = |info: &[u8], rec: u32| {
        let count = (info.len() / 8) as u32;
        let attr = load_attr(XDP, &text).u32(72, fd).u32(76, rec);
        attr.u64(80, addr(info)).u32(88, count)
    };
    let records = |list: &[u32]| -> Vec<u8> { list.iter().flat_map(|w| w.to_ne_bytes()).collect() };
    for (what, list) in [
        ("static", [0, 5, 2, 5]),
        ("global", [0, 6, 2, 6]),
        ("no function", [0, 5, 2, 1]),
        ("out of order", [0, 5, 0, 5]),
        ("first not 0", [1, 5, 2, 5]),
        ("no type", [0, 5, 2, 77]),
    ] {
        let info = records(&list);
        s.open(what, Cmd::ProgLoad, load(&info, 8));
    }
    let info = records(&[0, 5, 2, 5]);
    s.open("record of 4", Cmd::ProgLoad, load(&info, 4));
    s.open("record of 10", Cmd::ProgLoad, load(&info, 10));
    s.open("nowhere", Cmd::ProgLoad, load(&info, 8).u64(80, NOWHERE));
}

/// Functions and lines of a program that loses some of its code.
pub fn lines(s: &mut Script<'_>) {
    let mut b = Blob::default();
    let int = b.int("int", 4);
    let proto = b.proto(int, &[]);
    let main = b.add("main", (12 << 24) | 1, proto, &[]);
    let text_at = b.string("x = 1;");
    let blob = b.bytes();
    let attr = Attr::new(40).u64(0, addr(&blob));
    let fd = s.open("types", Cmd::BtfLoad, attr.u32(16, blob.len() as u32));
    // The last two instructions are never reached.
    let insns = [
        insn(0xb7, 1, 0, 0, 0),
        insn(0x55, 1, 0, 2, 0),
        insn(0xb7, 0, 0, 0, 2),
        insn(0x95, 0, 0, 0, 0),
        insn(0xb7, 0, 0, 0, 1),
        insn(0x95, 0, 0, 0, 0),
    ];
    let insns = text(&insns);
    let bytes = |words: &[u32]| -> Vec<u8> { words.iter().flat_map(|w| w.to_ne_bytes()).collect() };
    let functions = bytes(&[0, main]);
    let all: Vec<u32> = (0..6)
        .flat_map(|at| [at, 0, text_at, (at + 1) << 10])
        .collect();
    let all = bytes(&all);
    let load = |count: u32| {
        let attr = load_attr(XDP, &insns).u32(72, fd).u32(76, 8);
        let attr = attr.u64(80, addr(&functions)).u32(88, 1);
        attr.u32(92, 16).u64(96, addr(&all)).u32(104, count)
    };
    let sizes = [(132, 8u32), (172, 16), (176, 8)];
    for (count, room, sized) in [
        (6, 8u32, 3),
        (3, 8, 3),
        (6, 2, 3),
        (0, 8, 3),
        (6, 0, 0),
        (6, 8, 0),
        (6, 8, 1),
        (6, 8, 2),
    ] {
        let program = s.open("a program with lines", Cmd::ProgLoad, load(count));
        let (mut info, mut f, mut l, mut j) = ([0u8; 232], [0u8; 16], [0u8; 128], [0u8; 64]);
        let at = [
            (136, addr_mut(&mut f)),
            (152, addr_mut(&mut l)),
            (160, addr_mut(&mut j)),
        ];
        for (offset, to) in at {
            info[offset..offset + 8].copy_from_slice(&to.to_ne_bytes());
        }
        for (offset, size) in sizes.into_iter().take(sized) {
            info[offset..offset + 4].copy_from_slice(&size.to_ne_bytes());
        }
        for offset in [144, 148, 168] {
            info[offset..offset + 4].copy_from_slice(&room.to_ne_bytes());
        }
        let to = addr_mut(&mut info);
        let mut attr = Attr::new(16).u32(0, program).u32(4, 232).u64(8, to);
        let _ = s.call("info", Cmd::ObjGetInfoByFd, &mut attr);
        s.note("uid", info[48..52].to_vec());
        s.note("counts", info[144..152].to_vec());
        s.note("lines of code", info[168..172].to_vec());
        s.note("sizes", (info[132], info[172], info[176]));
        s.note("functions", f);
        s.note("lines", l.to_vec());
        let (addresses, _) = j.as_chunks::<8>();
        let addresses: Vec<u64> = addresses.iter().map(|a| u64::from_ne_bytes(*a)).collect();
        let told = addresses.iter().filter(|a| **a != 0);
        s.note("they rise", told.clone().is_sorted());
        s.note("addresses", told.count());
    }
    let short = load(5).u32(92, 12);
    s.open("records too short", Cmd::ProgLoad, short);
    let mut odd = load(1).u32(92, 20);
    s.open_in("records with more", Cmd::ProgLoad, &mut odd);
    s.note("their size", odd.word(92));
    s.open("functions nowhere", Cmd::ProgLoad, load(5).u64(80, NOWHERE));
    s.open("lines nowhere", Cmd::ProgLoad, load(5).u64(96, NOWHERE));
}
