//! Scripts about maps.

use crate::script::{Attr, NOWHERE, Script, addr, addr_mut, elem, map_attr};
use bpf_core::insn::Insn;
use bpf_core::uapi::Cmd;
use std::os::fd::AsRawFd;

const HASH: u32 = 1;
const ARRAY: u32 = 2;
const PROG_ARRAY: u32 = 3;
const LRU: u32 = 9;
const LPM: u32 = 11;
const ARRAY_OF_MAPS: u32 = 12;
const HASH_OF_MAPS: u32 = 13;
const QUEUE: u32 = 22;
const RINGBUF: u32 = 27;

pub fn create(s: &mut Script<'_>) {
    let good = || map_attr(HASH, 4, 8, 4, 0);
    let mut cases: Vec<(&str, Attr)> = vec![
        ("whole", good()),
        ("short", Attr(good().0[..20].to_vec())),
        ("cut inside a field", Attr(good().0[..15].to_vec())),
        ("empty", Attr(Vec::new())),
        ("a page", Attr([good().0, vec![0; 4096 - 168]].concat())),
        (
            "over a page",
            Attr([good().0, vec![0; 4097 - 168]].concat()),
        ),
        ("not zero behind", Attr([good().0, vec![0, 1]].concat())),
        ("not zero behind the last field", good().u32(96, 1)),
        ("bad name", good().bytes(28, b"a b")),
        ("longest name", good().bytes(28, b"abcdefghijklmno")),
        ("too long a name", good().bytes(28, b"abcdefghijklmnop")),
        ("odd but good name", good().bytes(28, b"a._9")),
        ("type 0", good().u32(0, 0)),
        ("unknown type", good().u32(0, 999)),
        ("unknown flag", good().u32(16, 1 << 30)),
        ("read and write only", good().u32(16, 0x18)),
        ("numa node beyond", good().u32(16, 4).u32(24, 5000)),
        ("numa node 0", good().u32(16, 4)),
        ("map_extra", good().u64(64, 1)),
        ("btf key without value", good().u32(52, 1)),
        ("btf not open", good().u32(48, 9999).u32(52, 1).u32(56, 1)),
        ("vmlinux value type", good().u32(60, 1)),
        ("hash size without hash", good().u32(88, 4)),
        ("no key", good().u32(4, 0)),
        ("no value", good().u32(8, 0)),
        ("no entries", good().u32(12, 0)),
        ("huge key", good().u32(4, 1 << 30)),
        ("array, key of 8", good().u32(0, ARRAY).u32(4, 8)),
        ("lpm without no_prealloc", map_attr(LPM, 8, 4, 4, 0)),
        ("queue with a key", map_attr(QUEUE, 4, 4, 4, 0)),
        ("ring of 5000", map_attr(RINGBUF, 0, 0, 5000, 0)),
        ("ring of 4096", map_attr(RINGBUF, 0, 0, 4096, 0)),
    ];
    let null = std::fs::File::open("/dev/null").unwrap();
    let outer = map_attr(ARRAY_OF_MAPS, 4, 4, 4, 0);
    cases.push(("inner not open", outer.clone().u32(20, 9999)));
    cases.push(("inner no map", outer.clone().u32(20, null.as_raw_fd())));
    let prog_array = s.map(PROG_ARRAY, 4, 4, 2, 0);
    cases.push(("inner program array", outer.clone().u32(20, prog_array)));
    let inner = s.map(ARRAY, 4, 8, 2, 0);
    cases.push(("inner array", outer.u32(20, inner)));
    for (what, attr) in cases {
        s.open(what, Cmd::MapCreate, attr);
    }
}

pub fn elements(s: &mut Script<'_>) {
    let map = s.map(HASH, 4, 8, 2, 0);
    let (key, other) = (1u32.to_ne_bytes(), 2u32.to_ne_bytes());
    let (k, o) = (addr(&key), addr(&other));
    let mut out = [0xeeu8; 16];
    let mut next = [0u8; 4];
    let value = 7u64.to_ne_bytes();
    let (v, to, n) = (addr(&value), addr_mut(&mut out), addr_mut(&mut next));
    let null = std::fs::File::open("/dev/null").unwrap();
    let null = null.as_raw_fd();
    use Cmd::*;
    let cases: [(&str, Cmd, Attr); 40] = [
        ("nothing there", MapLookupElem, elem(map, k, to, 0)),
        ("first key of none", MapGetNextKey, elem(map, 0, n, 0)),
        ("delete none", MapDeleteElem, elem(map, k, 0, 0)),
        ("exist", MapUpdateElem, elem(map, k, v, 2)),
        ("new", MapUpdateElem, elem(map, k, v, 1)),
        ("no exist", MapUpdateElem, elem(map, k, v, 1)),
        ("flags 3", MapUpdateElem, elem(map, k, v, 3)),
        ("lock", MapUpdateElem, elem(map, k, v, 4)),
        ("flag 8", MapUpdateElem, elem(map, k, v, 8)),
        ("high flag", MapUpdateElem, elem(map, k, v, 1 << 40)),
        ("no fd", MapUpdateElem, elem(-1, k, v, 0)),
        ("fd not open", MapUpdateElem, elem(9999, k, v, 0)),
        ("not a map", MapUpdateElem, elem(null, k, v, 0)),
        ("key nowhere", MapUpdateElem, elem(map, NOWHERE, v, 0)),
        ("value nowhere", MapUpdateElem, elem(map, k, NOWHERE, 0)),
        ("key null", MapUpdateElem, elem(map, 0, v, 0)),
        ("there", MapLookupElem, elem(map, k, to, 0)),
        ("lock", MapLookupElem, elem(map, k, to, 4)),
        ("flag 1", MapLookupElem, elem(map, k, to, 1)),
        ("fd not open", MapLookupElem, elem(9999, k, to, 0)),
        ("not a map", MapLookupElem, elem(null, k, to, 0)),
        ("key nowhere", MapLookupElem, elem(map, NOWHERE, to, 0)),
        ("key in the kernel", MapLookupElem, elem(map, !0xfff, to, 0)),
        ("value nowhere", MapLookupElem, elem(map, k, NOWHERE, 0)),
        (
            "short attributes",
            MapLookupElem,
            Attr(elem(map, k, to, 0).0[..24].to_vec()),
        ),
        (
            "no value in the attributes",
            MapLookupElem,
            Attr(elem(map, k, to, 0).0[..16].to_vec()),
        ),
        ("second", MapUpdateElem, elem(map, o, v, 0)),
        ("third", MapUpdateElem, elem(map, n, v, 0)),
        (
            "next of one that is not there",
            MapGetNextKey,
            elem(map, to, n, 0),
        ),
        ("key nowhere", MapGetNextKey, elem(map, NOWHERE, n, 0)),
        ("next nowhere", MapGetNextKey, elem(map, 0, NOWHERE, 0)),
        ("flags", MapGetNextKey, elem(map, 0, n, 1)),
        ("with a value", MapDeleteElem, elem(map, k, v, 0)),
        ("key nowhere", MapDeleteElem, elem(map, NOWHERE, 0, 0)),
        ("good", MapDeleteElem, elem(map, k, 0, 0)),
        ("again", MapDeleteElem, elem(map, k, 0, 0)),
        (
            "take with flags",
            MapLookupAndDeleteElem,
            elem(map, o, to, 1),
        ),
        ("take", MapLookupAndDeleteElem, elem(map, o, to, 0)),
        ("take again", MapLookupAndDeleteElem, elem(map, o, to, 0)),
        ("freeze with a key", MapFreeze, elem(map, k, 0, 0)),
    ];
    for (what, cmd, mut attr) in cases {
        let _ = s.call(what, cmd, &mut attr);
        if cmd == MapLookupElem || cmd == MapLookupAndDeleteElem {
            s.note("value", out);
        }
    }
}

pub fn kinds(s: &mut Script<'_>) {
    use Cmd::*;
    let key = [1u8, 0, 0, 0, 9, 9, 9, 9];
    let value = [5u8; 16];
    let mut out = [0u8; 16];
    let (k, v, to) = (addr(&key), addr(&value), addr_mut(&mut out));
    let maps = [
        (ARRAY, 4, 8, 2, 0),
        (PROG_ARRAY, 4, 4, 2, 0),
        (LPM, 8, 4, 2, 1),
        (QUEUE, 0, 4, 1, 0),
        (23, 0, 4, 1, 0),
        (RINGBUF, 0, 0, 4096, 0),
        (9, 4, 8, 2, 0),
        (HASH, 4, 8, 2, 1 << 3),
        (HASH, 4, 8, 2, 1 << 4),
        (ARRAY, 4, 8, 2, 1 << 7),
    ];
    for (t, key_size, value_size, entries, flags) in maps {
        let map = s.map(t, key_size, value_size, entries, flags);
        let k = if key_size == 0 { 0 } else { k };
        for (what, cmd, attr) in [
            ("lookup", MapLookupElem, elem(map, k, to, 0)),
            ("update", MapUpdateElem, elem(map, k, v, 0)),
            ("update again", MapUpdateElem, elem(map, k, v, 0)),
            ("exist", MapUpdateElem, elem(map, k, v, 2)),
            ("noexist", MapUpdateElem, elem(map, k, v, 1)),
            ("with a key", MapLookupElem, elem(map, addr(&key), to, 0)),
            ("lookup", MapLookupElem, elem(map, k, to, 0)),
            ("first", MapGetNextKey, elem(map, 0, to, 0)),
            ("next", MapGetNextKey, elem(map, k, to, 0)),
            (
                "take with lock",
                MapLookupAndDeleteElem,
                elem(map, k, to, 4),
            ),
            ("take", MapLookupAndDeleteElem, elem(map, k, to, 0)),
            ("delete", MapDeleteElem, elem(map, k, 0, 0)),
            ("freeze", MapFreeze, Attr::new(4).u32(0, map)),
            ("update frozen", MapUpdateElem, elem(map, k, v, 0)),
            (
                "update frozen, key nowhere",
                MapUpdateElem,
                elem(map, NOWHERE, v, 0),
            ),
            ("lookup frozen", MapLookupElem, elem(map, k, to, 0)),
            ("freeze again", MapFreeze, Attr::new(4).u32(0, map)),
        ] {
            out.fill(0);
            let _ = s.call(what, cmd, &mut attr.clone());
            s.note("out", out);
        }
    }
}

/// Values are descriptors on the way in and ids on the way out.
pub fn nested(s: &mut Script<'_>) {
    use Cmd::*;
    let key = 1u32.to_ne_bytes();
    let far = 7u32.to_ne_bytes();
    let mut out = [0u8; 8];
    let (k, f, to) = (addr(&key), addr(&far), addr_mut(&mut out));
    let inner = s.map(ARRAY, 4, 8, 2, 0);
    let other = s.map(ARRAY, 4, 16, 2, 0);
    let xdp = s.program(6, &ret());
    let filter = s.program(1, &ret());
    let null = std::fs::File::open("/dev/null").unwrap();
    for t in [PROG_ARRAY, ARRAY_OF_MAPS, HASH_OF_MAPS] {
        let attr = map_attr(t, 4, 4, 4, 0).u32(20, inner);
        let map = s.open("of objects", MapCreate, attr);
        for fd in [inner, other, xdp, filter, 9999, -1, null.as_raw_fd(), map] {
            let value = fd.to_ne_bytes();
            let v = addr(&value);
            let _ = s.call("update", MapUpdateElem, &mut elem(map, k, v, 0));
            let _ = s.call("flags", MapUpdateElem, &mut elem(map, k, v, 2));
            let _ = s.call("far", MapUpdateElem, &mut elem(map, f, v, 0));
            out.fill(0);
            let _ = s.call("lookup", MapLookupElem, &mut elem(map, k, to, 0));
            s.note("an id", out != [0; 8]);
            let _ = s.call("first", MapGetNextKey, &mut elem(map, 0, to, 0));
        }
        let _ = s.call("lookup far", MapLookupElem, &mut elem(map, f, to, 0));
        let (mut keys, mut values, mut next) = ([0u8; 16], [0u8; 16], [0u8; 8]);
        let at = [
            0,
            addr_mut(&mut next),
            addr_mut(&mut keys),
            addr_mut(&mut values),
        ];
        let mut attr = batch(map, at, 4, 0, 0);
        let _ = s.call("all", MapLookupBatch, &mut attr);
        s.note("count", attr.word(32));
        for cmd in [MapDeleteElem, MapDeleteElem, MapLookupElem] {
            let value = if cmd == MapLookupElem { to } else { 0 };
            let _ = s.call("and gone", cmd, &mut elem(map, k, value, 0));
        }
        let _ = s.call("freeze", MapFreeze, &mut Attr::new(4).u32(0, map));
    }
}

fn ret() -> [Insn; 2] {
    [Insn::new(0xb7, 0, 0, 0, 2), Insn::new(0x95, 0, 0, 0, 0)]
}

/// `in`, `out`, keys, values, count, map, elem_flags, flags.
fn batch(map: i32, at: [u64; 4], count: u32, elem_flags: u64, flags: u64) -> Attr {
    let [from, next, keys, values] = at;
    Attr::new(56)
        .u64(0, from)
        .u64(8, next)
        .u64(16, keys)
        .u64(24, values)
        .u32(32, count)
        .u32(36, map)
        .u64(40, elem_flags)
        .u64(48, flags)
}

pub fn batches(s: &mut Script<'_>) {
    use Cmd::*;
    let keys: Vec<u8> = (0..6u32).flat_map(u32::to_ne_bytes).collect();
    let lpm: Vec<u8> = (0..6u8).flat_map(|i| [32, 0, 0, 0, 10, 0, 0, i]).collect();
    let values = [3u8; 64];
    let v = addr(&values);
    for (t, key, flags) in [
        (HASH, 4, 0),
        (ARRAY, 4, 0),
        (LPM, 8, 1),
        (QUEUE, 0, 0),
        (LRU, 4, 0),
    ] {
        // Which elements an LRU map drops is its own affair: give it room.
        let map = s.map(t, key, 8, if t == LRU { 100 } else { 4 }, flags);
        let k = addr(if key == 8 { &lpm } else { &keys });
        let mut next = [0u8; 8];
        let n = addr_mut(&mut next);
        let (mut got_keys, mut got) = ([0u8; 64], [0u8; 64]);
        let (gk, gv) = (addr_mut(&mut got_keys), addr_mut(&mut got));
        for (what, cmd, mut attr) in [
            ("none", MapUpdateBatch, batch(map, [0, 0, k, v], 0, 0, 0)),
            ("three", MapUpdateBatch, batch(map, [0, 0, k, v], 3, 0, 0)),
            (
                "elem flags",
                MapUpdateBatch,
                batch(map, [0, 0, k, v], 3, 1, 0),
            ),
            (
                "elem lock",
                MapUpdateBatch,
                batch(map, [0, 0, k, v], 3, 4, 0),
            ),
            ("flags", MapUpdateBatch, batch(map, [0, 0, k, v], 3, 0, 1)),
            (
                "keys nowhere",
                MapUpdateBatch,
                batch(map, [0, 0, NOWHERE, v], 3, 0, 0),
            ),
            (
                "values nowhere",
                MapUpdateBatch,
                batch(map, [0, 0, k, NOWHERE], 3, 0, 0),
            ),
            (
                "trailing",
                MapUpdateBatch,
                Attr([batch(map, [0, 0, k, v], 3, 0, 0).0, vec![1]].concat()),
            ),
            (
                "lookup all",
                MapLookupBatch,
                batch(map, [0, n, gk, gv], 8, 0, 0),
            ),
            (
                "lookup flags",
                MapLookupBatch,
                batch(map, [0, n, gk, gv], 8, 0, 1),
            ),
            (
                "lookup elem flags",
                MapLookupBatch,
                batch(map, [0, n, gk, gv], 8, 1, 0),
            ),
            (
                "lookup, out nowhere",
                MapLookupBatch,
                batch(map, [0, NOWHERE, gk, gv], 8, 0, 0),
            ),
            (
                "lookup, in nowhere",
                MapLookupBatch,
                batch(map, [NOWHERE, n, gk, gv], 8, 0, 0),
            ),
            (
                "lookup, keys nowhere",
                MapLookupBatch,
                batch(map, [0, n, NOWHERE, gv], 8, 0, 0),
            ),
            (
                "lookup none",
                MapLookupBatch,
                batch(map, [0, n, gk, gv], 0, 0, 0),
            ),
            (
                "not open",
                MapLookupBatch,
                batch(9999, [0, n, gk, gv], 8, 0, 0),
            ),
            (
                "too many",
                MapUpdateBatch,
                batch(map, [0, 0, k, v], 6, 0, 0),
            ),
            (
                "delete two",
                MapDeleteBatch,
                batch(map, [0, 0, k, 0], 2, 0, 0),
            ),
            (
                "delete them again",
                MapDeleteBatch,
                batch(map, [0, 0, k, 0], 2, 0, 0),
            ),
            (
                "take all",
                MapLookupAndDeleteBatch,
                batch(map, [0, n, gk, gv], 8, 0, 0),
            ),
            (
                "take again",
                MapLookupAndDeleteBatch,
                batch(map, [0, n, gk, gv], 8, 0, 0),
            ),
        ] {
            let _ = s.call(what, cmd, &mut attr);
            s.note("count", attr.word(32));
        }
    }
}

pub fn info(s: &mut Script<'_>) {
    let map = s.map(HASH, 4, 8, 3, 1);
    let mut info = [0xffu8; 200];
    info[104..].fill(0);
    let to = addr_mut(&mut info);
    let null = std::fs::File::open("/dev/null").unwrap();
    for (what, fd, len, at) in [
        ("not zero behind", map, 104, to),
        ("short", map, 24, to),
        ("null", map, 80, 0),
        ("nowhere", map, 80, NOWHERE),
        ("nowhere, no length", map, 0, NOWHERE),
        ("over a page", map, 5000, to),
        ("not open", 9999, 80, to),
        ("not ours", null.as_raw_fd(), 80, to),
    ] {
        info[..104].fill(0);
        let mut attr = Attr::new(16).u32(0, fd).u32(4, len).u64(8, at);
        let _ = s.call(what, Cmd::ObjGetInfoByFd, &mut attr);
        info[4..8].fill(0); // the id
        s.note("length and info", (attr.word(4), info[..104].to_vec()));
    }
    info[150] = 1;
    let mut attr = Attr::new(16).u32(0, map).u32(4, 200).u64(8, to);
    let _ = s.call("not zero behind", Cmd::ObjGetInfoByFd, &mut attr);
    let mut attr = Attr::new(20).u32(0, map).u32(16, 1);
    let _ = s.call(
        "not zero behind the last field",
        Cmd::ObjGetInfoByFd,
        &mut attr,
    );
}
