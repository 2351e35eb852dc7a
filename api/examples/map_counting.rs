//! Counts packets by IP protocol, in the manner of 2014: a map and a program are
//! made from lists of attributes, and the program's calls of map functions are
//! told their map by fixups.
//!
//! ```text
//! cargo run --example map_counting
//! ```

use bpfvisor::Vm;
use bpfvisor::insn::Insn;
use bpfvisor::raw::{Refused, Session, Space, UserMemory};
use bpfvisor::raw::{bpf, bpf_attrs, bpf_elem, map_attr, prog_attr};
use bpfvisor::uapi::{Cmd, MapType, ProgType};
use std::collections::BTreeMap;

/// Appends an attribute: length with header, type, contents, padding.
fn attribute(list: &mut Vec<u8>, kind: u16, contents: &[u8]) {
    let length = u16::try_from(contents.len() + 4).unwrap_or(u16::MAX);
    list.extend(length.to_ne_bytes());
    list.extend(kind.to_ne_bytes());
    list.extend(contents);
    list.resize(list.len().next_multiple_of(4), 0);
}

/// `bpf(BPF_MAP_CREATE, BPF_MAP_TYPE_HASH, attributes, len)`: u32 to u64.
fn create_map(vm: &Vm) -> Result<i32, Refused> {
    let mut list = Vec::new();
    attribute(&mut list, map_attr::KEY_SIZE, &4u32.to_ne_bytes());
    attribute(&mut list, map_attr::VALUE_SIZE, &8u32.to_ne_bytes());
    attribute(&mut list, map_attr::MAX_ENTRIES, &256u32.to_ne_bytes());
    bpf_attrs(vm, Cmd::MapCreate as u32, MapType::Hash as u32, &list, 0).map(|fd| fd as i32)
}

/// Where the program calls `map_lookup_elem` and `map_update_elem`. Nothing puts
/// the map into R1 there: that is what the fixups are for.
const LOOKUP: u32 = 5;
const UPDATE: u32 = 16;

/// A socket filter sees the packet from the IP header on.
fn counting_program() -> [Insn; 19] {
    let insn = Insn::new;
    [
        insn(0xbf, 6, 1, 0, 0),    //  0: r6 = r1, the packet for the next one
        insn(0x30, 0, 0, 0, 9),    //  1: r0 = the IP header's protocol
        insn(0x63, 10, 0, -4, 0),  //  2: key = r0
        insn(0xbf, 2, 10, 0, 0),   //  3: r2 = &key
        insn(0x07, 2, 0, 0, -4),   //  4:
        insn(0x85, 0, 0, 0, 1),    //  5: r0 = map_lookup_elem(MAP, r2)
        insn(0x15, 0, 0, 3, 0),    //  6: if r0 == 0 goto 10
        insn(0xb7, 1, 0, 0, 1),    //  7: r1 = 1
        insn(0xdb, 0, 1, 0, 0),    //  8: lock *(u64 *)r0 += r1
        insn(0x05, 0, 0, 7, 0),    //  9: goto 17
        insn(0x7a, 10, 0, -16, 1), // 10: value = 1
        insn(0xbf, 2, 10, 0, 0),   // 11: r2 = &key
        insn(0x07, 2, 0, 0, -4),   // 12:
        insn(0xbf, 3, 10, 0, 0),   // 13: r3 = &value
        insn(0x07, 3, 0, 0, -16),  // 14:
        insn(0xb7, 4, 0, 0, 0),    // 15: r4 = BPF_ANY
        insn(0x85, 0, 0, 0, 2),    // 16: map_update_elem(MAP, r2, r3, r4)
        insn(0xb7, 0, 0, 0, 0),    // 17: r0 = 0
        insn(0x95, 0, 0, 0, 0),    // 18: exit
    ]
}

/// `bpf(BPF_PROG_LOAD, BPF_PROG_TYPE_SOCKET_FILTER, attributes, len)`.
fn load_program(vm: &Vm, map: i32) -> Result<i32, Refused> {
    let text: Vec<u8> = counting_program()
        .iter()
        .flat_map(|i| i.to_bytes())
        .collect();
    let fixups: Vec<u8> = [LOOKUP, UPDATE]
        .iter()
        .flat_map(|insn| [insn.to_ne_bytes(), map.to_ne_bytes()])
        .flatten()
        .collect();
    let mut list = Vec::new();
    attribute(&mut list, prog_attr::TEXT, &text);
    attribute(&mut list, prog_attr::LICENSE, b"GPL\0");
    attribute(&mut list, prog_attr::MAP_FIXUP, &fixups);
    let filter = ProgType::SocketFilter as u32;
    bpf_attrs(vm, Cmd::ProgLoad as u32, filter, &list, 0).map(|fd| fd as i32)
}

/// Runs the program once over a frame: `BPF_PROG_TEST_RUN`, which came later and
/// takes a `union bpf_attr`.
fn run(session: &Session<Space>, program: i32, frame: &[u8]) -> Result<(), Refused> {
    let written = session.memory().write(FRAMES, frame);
    written.map_err(|e| Refused {
        errno: bpfvisor::uapi::errno::EFAULT,
        message: e.to_string(),
    })?;
    let mut attr = [0u8; 80];
    attr[..4].copy_from_slice(&program.to_ne_bytes()); // prog_fd
    attr[8..12].copy_from_slice(&(frame.len() as u32).to_ne_bytes()); // data_size_in
    attr[16..24].copy_from_slice(&FRAMES.to_ne_bytes()); // data_in
    bpf(session, Cmd::ProgTestRun as u32, &mut attr).map(drop)
}

/// Where frames lie in the memory that attributes mean.
const FRAMES: u64 = 0x1000;

/// Packets by IP protocol.
pub fn count(vm: &Vm, frames: &[Vec<u8>]) -> Result<BTreeMap<u32, u64>, Refused> {
    let map = create_map(vm)?;
    let program = load_program(vm, map)?;
    let session = Session::new(vm, Space::new(FRAMES, 4096));
    for frame in frames {
        run(&session, program, frame)?;
    }
    let mut counts = BTreeMap::new();
    let (mut key, mut next) = (Vec::new(), [0u8; 4]);
    while bpf_elem(vm, Cmd::MapGetNextKey as u32, map, &key, &mut next).is_ok() {
        let mut value = [0u8; 8];
        bpf_elem(vm, Cmd::MapLookupElem as u32, map, &next, &mut value)?;
        counts.insert(u32::from_ne_bytes(next), u64::from_ne_bytes(value));
        key = next.to_vec();
    }
    Ok(counts)
}

/// An Ethernet frame with an IPv4 header of this protocol.
pub fn frame(protocol: u8) -> Vec<u8> {
    let mut bytes = vec![0; 60];
    bytes[12..14].copy_from_slice(&[0x08, 0x00]);
    bytes[14] = 0x45;
    bytes[14 + 9] = protocol;
    bytes
}

#[allow(dead_code)] // the test has its own
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let vm = Vm::builder().boot()?;
    let frames: Vec<_> = [6, 17, 6, 1, 6].map(frame).into();
    for (protocol, packets) in count(&vm, &frames)? {
        println!("protocol {protocol:3}: {packets} packets");
    }
    Ok(())
}
