//! Scripts about descriptors that only read or only write, about names in folders
//! that are given as descriptors, and about streams.

use crate::objects::{FOLDER, info, word};
use crate::programs::{XDP, load_map, ret};
use crate::script::{Attr, NOWHERE, Script, addr, addr_mut, elem, load_attr, map_attr, text};
use bpf_core::uapi::Cmd;
use std::os::fd::AsRawFd;

const RDONLY: u32 = 1 << 3;
const WRONLY: u32 = 1 << 4;
const MODES: [u32; 3] = [0, RDONLY, WRONLY];
const PATH_FD: u32 = 1 << 14;

/// Every command that looks at what the descriptor is good for.
fn uses(s: &mut Script<'_>, what: &str, fd: i32) {
    let (key, value) = ([1u8, 0, 0, 0], [5u8; 8]);
    let mut out = [0u8; 64];
    let to = addr_mut(&mut out);
    let batch = |keys: u64| {
        let attr = Attr::new(56).u64(8, to + 32).u64(16, keys).u64(24, to);
        attr.u32(32, 1).u32(36, fd)
    };
    for (cmd, mut attr) in [
        (Cmd::MapUpdateElem, elem(fd, addr(&key), addr(&value), 0)),
        (Cmd::MapLookupElem, elem(fd, addr(&key), to, 0)),
        (Cmd::MapGetNextKey, elem(fd, 0, to, 0)),
        (Cmd::MapLookupAndDeleteElem, elem(fd, addr(&key), to, 0)),
        (Cmd::MapDeleteElem, elem(fd, addr(&key), 0, 0)),
        (
            Cmd::MapUpdateBatch,
            batch(addr(&key)).u64(8, 0).u64(24, addr(&value)),
        ),
        (Cmd::MapLookupBatch, batch(to + 16)),
        (Cmd::MapLookupAndDeleteBatch, batch(to + 16)),
        (Cmd::MapDeleteBatch, batch(addr(&key)).u64(8, 0).u64(24, 0)),
    ] {
        let _ = s.call(what, cmd, &mut attr);
    }
    let known = info(s, fd, 104);
    s.note("flags", word(&known, 24));
}

pub fn modes(s: &mut Script<'_>) {
    for mode in MODES {
        let map = s.map(1, 4, 8, 2, mode);
        uses(s, &format!("made with {mode}"), map);
        let text = text(&load_map(1, map));
        let program = s.open("in a program", Cmd::ProgLoad, load_attr(XDP, &text));
        let id = word(&info(s, map, 104), 4);
        for other in MODES {
            let get = Attr::new(12).u32(0, id).u32(8, other);
            let fd = s.open("by id", Cmd::MapGetFdById, get);
            uses(s, &format!("made with {mode}, by id with {other}"), fd);
            s.close(fd);
        }
        let frozen = s.call("freeze", Cmd::MapFreeze, &mut Attr::new(4).u32(0, map));
        let get = Attr::new(12).u32(0, id).u32(8, WRONLY);
        let fd = s.open("to write", Cmd::MapGetFdById, get);
        uses(s, &format!("after freezing: {frozen:?}"), fd);
        s.close(map);
        s.close(program);
        // Both an inner map and what names it may be of any mode.
        let inner = s.map(2, 4, 8, 1, mode);
        let outer = map_attr(12, 4, 4, 1, mode).u32(20, inner);
        let outer = s.open("outer", Cmd::MapCreate, outer);
        let value = inner.to_ne_bytes();
        let mut set = elem(outer, addr(&[0; 4]), addr(&value), 0);
        let _ = s.call("inner", Cmd::MapUpdateElem, &mut set);
    }
    s.open(
        "both",
        Cmd::MapCreate,
        map_attr(1, 4, 8, 2, RDONLY | WRONLY),
    );
    s.open(
        "ring buffer",
        Cmd::MapCreate,
        map_attr(27, 0, 0, 4096, RDONLY),
    );
    s.open("CPU map", Cmd::MapCreate, map_attr(16, 4, 4, 1, RDONLY));
    let program = s.program(XDP, &ret(2));
    let id = word(&info(s, program, 232), 4);
    let get = Attr::new(12).u32(0, id).u32(8, RDONLY);
    s.open("a program by id, with a mode", Cmd::ProgGetFdById, get);
}

pub fn pinned(s: &mut Script<'_>) {
    let map = s.map(1, 4, 8, 2, RDONLY);
    let program = s.program(XDP, &ret(2));
    let (one, two) = (format!("{FOLDER}/one\0"), format!("{FOLDER}/two\0"));
    let pin = |path: &str, fd: i32| Attr::new(24).u64(0, addr(path.as_bytes())).u32(8, fd);
    let _ = s.call("map", Cmd::ObjPin, &mut pin(&one, map));
    let _ = s.call("program", Cmd::ObjPin, &mut pin(&two, program));
    for mode in MODES {
        let fd = s.open("map", Cmd::ObjGet, pin(&one, 0).u32(12, mode));
        uses(s, &format!("pinned, with {mode}"), fd);
        s.open("program", Cmd::ObjGet, pin(&two, 0).u32(12, mode));
    }
    let folder = std::fs::File::open(FOLDER).unwrap();
    let null = std::fs::File::open("/dev/null").unwrap();
    let (folder, null) = (folder.as_raw_fd(), null.as_raw_fd());
    let at = |name: &str, of: i32, fd: i32| pin(name, of).u32(12, PATH_FD).u32(16, fd);
    for (what, mut attr) in [
        ("relative", at("three\0", map, folder)),
        ("taken", at("three\0", map, folder)),
        ("no folder", at("four\0", map, null)),
        ("not open", at("four\0", map, 9999)),
        ("nowhere", at("\0", map, folder).u64(0, NOWHERE)),
        ("empty", at("\0", map, folder)),
        (
            "descriptor without flag",
            at("four\0", map, folder).u32(12, 0),
        ),
    ] {
        let _ = s.call(what, Cmd::ObjPin, &mut attr);
    }
    for (what, attr) in [
        ("relative", at("three\0", 0, folder)),
        ("by its whole path", pin(&format!("{FOLDER}/three\0"), 0)),
        ("whole path, folder ignored", at(&one, 0, 9999)),
        ("missing", at("four\0", 0, folder)),
        ("no folder", at("three\0", 0, null)),
        ("not open", at("three\0", 0, 9999)),
        (
            "descriptor without flag",
            at("three\0", 0, folder).u32(12, 0),
        ),
    ] {
        s.open(what, Cmd::ObjGet, attr);
    }
    let get = at("three\0", 0, folder).u32(12, PATH_FD | RDONLY);
    let fd = s.open("relative, to read", Cmd::ObjGet, get);
    uses(s, "relative, to read", fd);
    for path in [one, two, format!("{FOLDER}/three\0")] {
        s.unpin(path.trim_end_matches('\0'));
    }
}

pub fn streams(s: &mut Script<'_>) {
    let program = s.program(XDP, &ret(2));
    let map = s.map(1, 4, 8, 2, 0);
    let mut out = [0u8; 16];
    let to = addr_mut(&mut out);
    let read = |stream: u32, fd: i32| {
        let attr = Attr::new(24).u64(0, to).u32(8, 16);
        attr.u32(12, stream).u32(16, fd)
    };
    for (what, mut attr) in [
        ("out", read(1, program)),
        ("err", read(2, program)),
        ("none", read(0, program)),
        ("third", read(3, program)),
        ("nowhere", read(1, program).u64(0, NOWHERE)),
        ("no room", read(1, program).u32(8, 0)),
        ("a map", read(1, map)),
        ("not open", read(1, 9999)),
        ("trailing", read(1, program).u32(20, 1)),
    ] {
        let _ = s.call(what, Cmd::ProgStreamReadByFd, &mut attr);
    }
}
