//! Scripts about what has names, numbers and links.

use crate::programs::{SOCKET_FILTER, XDP, btf, load_map, ret};
use crate::script::{Attr, NOWHERE, Script, addr, addr_mut, load_attr, text};
use bpf_core::uapi::Cmd;

/// Where the bpf file system is.
pub const FOLDER: &str = "/tmp/bpfvisor-raw-vs-kernel";

/// `BPF_XDP`.
const ATTACH_XDP: u32 = 37;

pub fn info(s: &mut Script<'_>, fd: i32, len: usize) -> Vec<u8> {
    let mut info = vec![0u8; len];
    let to = addr_mut(&mut info);
    let mut attr = Attr::new(16).u32(0, fd).u32(4, len as u32).u64(8, to);
    let _ = s.call("info", Cmd::ObjGetInfoByFd, &mut attr);
    s.note("length of info", attr.word(4));
    info
}

pub fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_ne_bytes(bytes[at..at + 4].try_into().unwrap())
}

pub fn pins(s: &mut Script<'_>) {
    let map = s.map(1, 4, 8, 2, 0);
    let program = s.program(XDP, &ret(2));
    let types = btf();
    let attr = Attr::new(40)
        .u64(0, addr(&types))
        .u32(16, types.len() as u32);
    let types = s.open("types", Cmd::BtfLoad, attr);
    let null = std::fs::File::open("/dev/null").unwrap();
    let null = std::os::fd::AsRawFd::as_raw_fd(&null);
    let (one, two) = (format!("{FOLDER}/one\0"), format!("{FOLDER}/two\0"));
    let long = format!("{FOLDER}/{}\0", "x".repeat(5000));
    let pin = |path: &[u8], fd: i32| Attr::new(24).u64(0, addr(path)).u32(8, fd);
    for (what, mut attr) in [
        ("not open", pin(one.as_bytes(), 9999)),
        ("not ours", pin(one.as_bytes(), null)),
        ("types", pin(one.as_bytes(), types)),
        ("flags", pin(one.as_bytes(), map).u32(12, 1)),
        ("path_fd", pin(one.as_bytes(), map).u32(16, 1)),
        ("trailing", pin(one.as_bytes(), map).u32(20, 1)),
        ("nowhere", pin(one.as_bytes(), map).u64(0, NOWHERE)),
        ("empty", pin(b"\0", map)),
        ("long", pin(long.as_bytes(), map)),
        ("map", pin(one.as_bytes(), map)),
        ("taken", pin(one.as_bytes(), map)),
        ("program", pin(two.as_bytes(), program)),
        ("taken by another", pin(two.as_bytes(), map)),
    ] {
        let _ = s.call(what, Cmd::ObjPin, &mut attr);
    }
    let value = 5u64.to_ne_bytes();
    let mut set = crate::script::elem(map, addr(&[0; 4]), addr(&value), 0);
    let _ = s.call("set", Cmd::MapUpdateElem, &mut set);
    s.close(map);
    s.close(program);
    for (what, attr) in [
        ("bpf_fd", pin(one.as_bytes(), 1)),
        ("flags", pin(one.as_bytes(), 0).u32(12, 1)),
        ("both modes", pin(one.as_bytes(), 0).u32(12, 3 << 3)),
        ("missing", pin(format!("{FOLDER}/x\0").as_bytes(), 0)),
        ("nowhere", pin(one.as_bytes(), 0).u64(0, NOWHERE)),
    ] {
        s.open(what, Cmd::ObjGet, attr);
    }
    let map = s.open("map", Cmd::ObjGet, pin(one.as_bytes(), 0));
    let known = info(s, map, 104);
    s.note("type", word(&known, 0));
    let mut out = [0u8; 8];
    let mut get = crate::script::elem(map, addr(&[0; 4]), addr_mut(&mut out), 0);
    let _ = s.call("the value is still there", Cmd::MapLookupElem, &mut get);
    s.note("value", out);
    let program = s.open("program", Cmd::ObjGet, pin(two.as_bytes(), 0));
    let known = info(s, program, 232);
    s.note("type", word(&known, 0));
    s.unpin(one.trim_end_matches('\0'));
    s.unpin(two.trim_end_matches('\0'));
    s.open("unpinned", Cmd::ObjGet, pin(one.as_bytes(), 0));
}

pub fn ids(s: &mut Script<'_>) {
    let map = s.map(1, 4, 8, 2, 0);
    let program = s.program(XDP, &ret(2));
    let types = btf();
    let attr = Attr::new(40)
        .u64(0, addr(&types))
        .u32(16, types.len() as u32);
    let types = s.open("types", Cmd::BtfLoad, attr);
    for (fd, len, at, next, get) in [
        (map, 104, 4, Cmd::MapGetNextId, Cmd::MapGetFdById),
        (program, 232, 4, Cmd::ProgGetNextId, Cmd::ProgGetFdById),
        (types, 32, 12, Cmd::BtfGetNextId, Cmd::BtfGetFdById),
    ] {
        let id = word(&info(s, fd, len), at);
        s.note("has an id", id != 0);
        let mut before = Attr::new(12).u32(0, id - 1);
        let _ = s.call("before", next, &mut before);
        s.note("it comes next", before.word(4) == id);
        for (what, mut attr) in [
            ("far", Attr::new(12).u32(0, i32::MAX - 1)),
            ("too far", Attr::new(12).u32(0, i32::MAX)),
            ("open_flags", Attr::new(12).u32(0, id - 1).u32(8, 8)),
            ("trailing", Attr::new(16).u32(12, 1)),
            ("short", Attr::new(4).u32(0, id - 1)),
        ] {
            let _ = s.call(what, next, &mut attr);
        }
        for (what, attr) in [
            ("far", Attr::new(12).u32(0, i32::MAX - 1)),
            ("zero", Attr::new(12)),
            ("flags", Attr::new(12).u32(0, id).u32(8, 1)),
            ("both modes", Attr::new(12).u32(0, id).u32(8, 3 << 3)),
            ("trailing", Attr::new(20).u32(0, id).u32(16, 1)),
        ] {
            s.open(what, get, attr);
        }
        let again = s.open("again", get, Attr::new(12).u32(0, id));
        let known = word(&info(s, again, len), at);
        s.note("the same", known == id);
        s.close(fd);
        let third = s.open("by the second one", get, Attr::new(12).u32(0, id));
        s.close(again);
        s.close(third);
        s.fails_soon("closed", get, &Attr::new(12).u32(0, id), 2);
    }
}

pub fn bind(s: &mut Script<'_>) {
    let used = s.map(1, 4, 8, 2, 0);
    let other = s.map(1, 4, 8, 2, 0);
    let program = s.program(XDP, &load_map(1, used));
    let bind = |prog: i32, map: i32| Attr::new(12).u32(0, prog).u32(4, map);
    for (what, mut attr) in [
        ("flags", bind(program, other).u32(8, 1)),
        ("no program", bind(other, other)),
        ("no map", bind(program, program)),
        ("not open", bind(9999, other)),
        ("map not open", bind(program, 9999)),
        ("used already", bind(program, used)),
        ("other", bind(program, other)),
        ("other again", bind(program, other)),
    ] {
        let _ = s.call(what, Cmd::ProgBindMap, &mut attr);
        let known = info(s, program, 232);
        s.note("maps", word(&known, 52));
    }
    let id = word(&info(s, other, 104), 4);
    s.close(other);
    let again = s.open("it lives", Cmd::MapGetFdById, Attr::new(12).u32(0, id));
    s.close(again);
    s.close(program);
    let attr = Attr::new(12).u32(0, id);
    s.fails_soon("gone with the program", Cmd::MapGetFdById, &attr, 2);
}

pub fn links(s: &mut Script<'_>) {
    let first = s.program(XDP, &ret(2));
    let second = s.program(XDP, &ret(1));
    let filter = s.program(SOCKET_FILTER, &ret(1));
    let map = s.map(1, 4, 8, 2, 0);
    let create = |prog: i32, index: u32| {
        let attr = Attr::new(64).u32(0, prog).u32(4, index);
        attr.u32(8, ATTACH_XDP)
    };
    for (what, attr) in [
        ("not open", create(9999, 1)),
        ("a map", create(map, 1)),
        ("a filter", create(filter, 1)),
        ("no such source", create(first, 77)),
        ("another attach type", create(first, 1).u32(8, 0)),
        ("driver mode", create(first, 1).u32(12, 4)),
        ("two modes", create(first, 1).u32(12, 6)),
        ("trailing", create(first, 1).u32(60, 1)),
    ] {
        s.open(what, Cmd::LinkCreate, attr);
    }
    let link = s.open("link", Cmd::LinkCreate, create(first, 1));
    s.open("taken", Cmd::LinkCreate, create(second, 1));
    let known = info(s, link, 64);
    let id = word(&known, 4);
    s.note("type and interface", (word(&known, 0), word(&known, 16)));
    let prog_id = |s: &mut Script<'_>, prog: i32| word(&info(s, prog, 232), 4);
    let (first_id, second_id) = (prog_id(s, first), prog_id(s, second));
    s.note("program", word(&known, 8) == first_id);
    let update = |link: i32, new: i32| Attr::new(16).u32(0, link).u32(4, new);
    for (what, mut attr) in [
        ("flags", update(link, second).u32(8, 1)),
        ("no link", update(map, second)),
        ("link not open", update(9999, second)),
        ("no program", update(link, map)),
        ("a filter", update(link, filter)),
        ("old without flag", update(link, second).u32(12, first)),
        (
            "old is another",
            update(link, second).u32(8, 4).u32(12, second),
        ),
        ("old", update(link, second).u32(8, 4).u32(12, first)),
        ("the same", update(link, second)),
    ] {
        let _ = s.call(what, Cmd::LinkUpdate, &mut attr);
        let known = word(&info(s, link, 64), 8);
        s.note("program", (known == first_id, known == second_id));
    }
    let mut next = Attr::new(12).u32(0, id - 1);
    let _ = s.call("next", Cmd::LinkGetNextId, &mut next);
    s.note("it comes next", next.word(4) == id);
    s.open(
        "flags",
        Cmd::LinkGetFdById,
        Attr::new(12).u32(0, id).u32(8, 1),
    );
    let again = s.open("by id", Cmd::LinkGetFdById, Attr::new(12).u32(0, id));
    s.close(link);
    let known = info(s, again, 64);
    s.note("interface", word(&known, 16));
    let _ = s.call("no link", Cmd::LinkDetach, &mut Attr::new(4).u32(0, map));
    let _ = s.call("detach", Cmd::LinkDetach, &mut Attr::new(4).u32(0, again));
    let _ = s.call("again", Cmd::LinkDetach, &mut Attr::new(4).u32(0, again));
    let known = info(s, again, 64);
    s.note("interface", word(&known, 16));
    let _ = s.call("detached", Cmd::LinkUpdate, &mut update(again, first));
    // Another one now, which a pin keeps.
    let link = s.open("second link", Cmd::LinkCreate, create(first, 1));
    let path = format!("{FOLDER}/link\0");
    let pin = |fd: i32| Attr::new(24).u64(0, addr(path.as_bytes())).u32(8, fd);
    let _ = s.call("pin", Cmd::ObjPin, &mut pin(link));
    s.close(link);
    s.open("kept", Cmd::LinkCreate, create(second, 1));
    let link = s.open("pinned", Cmd::ObjGet, pin(0));
    let known = info(s, link, 64);
    s.note("program", word(&known, 8) == first_id);
    let id = word(&known, 4);
    s.unpin(path.trim_end_matches('\0'));
    s.close(link);
    let attr = Attr::new(12).u32(0, id);
    s.fails_soon("closed", Cmd::LinkGetFdById, &attr, 2);
    s.open("free again", Cmd::LinkCreate, create(second, 1));
}

pub fn types(s: &mut Script<'_>) {
    let types = btf();
    let len = types.len() as u32;
    let attr = Attr::new(40).u64(0, addr(&types)).u32(16, len);
    let fd = s.open("types", Cmd::BtfLoad, attr);
    let mut data = vec![0u8; types.len()];
    let mut name = [7u8; 4];
    let to = addr_mut(&mut data);
    let cases: [(&str, u64, u32, u64, u32); 7] = [
        ("whole", to, len, 0, 0),
        ("part", to, 30, 0, 0),
        ("size only", 0, 0, 0, 0),
        ("nowhere", NOWHERE, len, 0, 0),
        ("name", 0, 0, addr_mut(&mut name), 4),
        ("name without length", 0, 0, addr_mut(&mut name), 0),
        ("length without name", 0, 0, 0, 4),
    ];
    for (what, to, size, name_at, name_len) in cases {
        data.fill(0);
        let mut info = [0u8; 32];
        info[..8].copy_from_slice(&to.to_ne_bytes());
        info[8..12].copy_from_slice(&size.to_ne_bytes());
        info[16..24].copy_from_slice(&name_at.to_ne_bytes());
        info[24..28].copy_from_slice(&name_len.to_ne_bytes());
        let at = addr_mut(&mut info);
        let mut attr = Attr::new(16).u32(0, fd).u32(4, 32).u64(8, at);
        let _ = s.call(what, Cmd::ObjGetInfoByFd, &mut attr);
        s.note("size", word(&info, 8));
        s.note("name", (word(&info, 24), name[0]));
        s.note("of the kernel", word(&info, 28));
        s.note("contents", data == types);
    }
    let id = word(&info(s, fd, 32), 12);
    let map = crate::script::map_attr(1, 4, 8, 2, 0);
    let map = map.u32(48, fd).u32(52, 1).u32(56, 3);
    let map = s.open("a map with types", Cmd::MapCreate, map);
    let insns = text(&ret(2));
    let functions: Vec<u8> = [0u32, 5].iter().flat_map(|w| w.to_ne_bytes()).collect();
    let attr = load_attr(XDP, &insns).u32(72, fd).u32(76, 8);
    let attr = attr.u64(80, addr(&functions)).u32(88, 1);
    let program = s.open("a program with types", Cmd::ProgLoad, attr);
    s.close(fd);
    let known = info(s, map, 104);
    s.note("of the map", word(&known, 64) == id);
    s.note("key and value", (word(&known, 68), word(&known, 72)));
    let known = info(s, program, 232);
    s.note("of the program", word(&known, 128) == id);
    let get = Attr::new(12).u32(0, id);
    let again = s.open("they live", Cmd::BtfGetFdById, get.clone());
    s.close(again);
    s.close(map);
    s.close(program);
    s.fails_soon("gone", Cmd::BtfGetFdById, &get, 2);
}
