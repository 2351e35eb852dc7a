//! The interface as it was first proposed in 2014: commands with their arguments
//! in the open, and attributes as a list.

use super::Refused;
use super::call::{Result, answer, invalid, refuse};
use super::tlv::{Kind, parse};
use crate::map::MapCore;
use crate::spec::{MapSpec, ProgramSpec};
use crate::{MAX_PACKET, Vm};
use bpf_core::insn::Insn;
use bpf_core::uapi::{Cmd, MapType, ProgType, errno};
use std::os::fd::RawFd;

/// Attributes of `BPF_MAP_CREATE`: one 32-bit number each.
pub mod map_attr {
    /// Bytes per key.
    pub const KEY_SIZE: u16 = 1;
    /// Bytes per value.
    pub const VALUE_SIZE: u16 = 2;
    /// Capacity.
    pub const MAX_ENTRIES: u16 = 3;
}

/// Attributes of `BPF_PROG_LOAD`.
pub mod prog_attr {
    /// Instructions, 8 bytes each.
    pub const TEXT: u16 = 1;
    /// License string; a final zero may be there or not.
    pub const LICENSE: u16 = 2;
    /// Array of `struct { u32 insn_idx; i32 fd; }`: this instruction means this
    /// map. It may be a `mov` of an immediate, a 16-byte immediate load, or the
    /// call of a map function, whose first argument the map then becomes.
    pub const MAP_FIXUP: u16 = 3;
}

const NUMBER: usize = 4;
const fn number(number: u16, name: &'static str) -> Kind {
    Kind {
        number,
        name,
        unit: NUMBER,
        most: NUMBER,
    }
}

const MAP_KINDS: [Kind; 3] = [
    number(map_attr::KEY_SIZE, "KEY_SIZE"),
    number(map_attr::VALUE_SIZE, "VALUE_SIZE"),
    number(map_attr::MAX_ENTRIES, "MAX_ENTRIES"),
];

const PROG_KINDS: [Kind; 3] = [
    Kind {
        number: prog_attr::TEXT,
        name: "TEXT",
        unit: 8,
        most: u16::MAX as usize,
    },
    Kind {
        number: prog_attr::LICENSE,
        name: "LICENSE",
        unit: 1,
        most: 128,
    },
    Kind {
        number: prog_attr::MAP_FIXUP,
        name: "MAP_FIXUP",
        unit: 8,
        most: u16::MAX as usize,
    },
];

/// `bpf(BPF_MAP_CREATE, map_type, attributes, len)` and
/// `bpf(BPF_PROG_LOAD, prog_type, attributes, len)`, with a `flags` argument.
///
/// `attributes` is a list in netlink's format (`struct nlattr`: 16 bits of
/// length, header included, 16 bits of type, contents, padding to a multiple of
/// 4): of [`map_attr`] or [`prog_attr`]. `flags` has no bits yet. The answer is a
/// descriptor, which the caller closes.
///
/// A program of type 0 (flat memory) may run over any length and see none of it:
/// use a type with a context.
///
/// ```
/// use bpfvisor::raw::map_attr;
///
/// let mut list = Vec::new();
/// for (kind, number) in [(map_attr::KEY_SIZE, 4u32), (map_attr::VALUE_SIZE, 8), (map_attr::MAX_ENTRIES, 256)] {
///     list.extend(8u16.to_ne_bytes()); // header and contents
///     list.extend(kind.to_ne_bytes());
///     list.extend(number.to_ne_bytes());
/// }
/// assert_eq!(list.len(), 24);
/// // let fd = bpfvisor::raw::bpf_attrs(&vm, BPF_MAP_CREATE, BPF_MAP_TYPE_HASH, &list, 0)?;
/// ```
///
/// # Errors
/// EINVAL for unknown flags, commands and types, and for attributes that are
/// unknown, missing, truncated, misaligned or there twice; E2BIG for those that
/// are too large; otherwise as [`bpf`](super::bpf). The message names the
/// attribute and the byte at which it begins.
pub fn bpf_attrs(
    vm: &Vm,
    cmd: u32,
    object_type: u32,
    attributes: &[u8],
    flags: u32,
) -> std::result::Result<i64, Refused> {
    if flags != 0 {
        return Err(invalid(format!("unknown flags {flags:#x}: there are none")));
    }
    match Cmd::from_u32(cmd) {
        Some(Cmd::MapCreate) => map_create(vm, object_type, attributes),
        Some(Cmd::ProgLoad) => prog_load(vm, object_type, attributes),
        _ => Err(invalid(format!("command {cmd} takes no attributes"))),
    }
}

/// The commands on one element, in the same style:
/// `bpf(BPF_MAP_LOOKUP_ELEM, fd, key, value)`. `BPF_MAP_GET_NEXT_KEY` puts the
/// next key into `value`; an empty `key` asks for the first one.
///
/// # Errors
/// As [`bpf`](super::bpf); EINVAL for a `key` or `value` of the wrong length.
pub fn bpf_elem(
    vm: &Vm,
    cmd: u32,
    fd: RawFd,
    key: &[u8],
    value: &mut [u8],
) -> std::result::Result<i64, Refused> {
    let map = MapCore::from_fd(vm, fd)?;
    match Cmd::from_u32(cmd) {
        Some(Cmd::MapLookupElem) => map.lookup(key, value, 0)?,
        Some(Cmd::MapUpdateElem) => map.update(key, value, 0)?,
        Some(Cmd::MapDeleteElem) => map.delete(key)?,
        Some(Cmd::MapGetNextKey) if value.len() != map.key_size() => {
            return Err(invalid("the next key needs room for exactly one key"));
        }
        Some(Cmd::MapGetNextKey) => map.next_key((!key.is_empty()).then_some(key), value)?,
        _ => return Err(invalid(format!("command {cmd} is not about an element"))),
    }
    Ok(0)
}

fn map_create(vm: &Vm, map_type: u32, list: &[u8]) -> Result<i64> {
    let map_type = MapType::from_u32(map_type)
        .filter(|t| *t != MapType::Unspec)
        .ok_or_else(|| invalid(format!("there is no map type {map_type}")))?;
    let found = parse(list, &MAP_KINDS)?;
    let word = |at: usize| -> Result<u32> {
        let bytes = found[at].and_then(|b| b.try_into().ok());
        bytes
            .map(u32::from_ne_bytes)
            .ok_or_else(|| invalid(format!("attribute {} is missing", MAP_KINDS[at].name)))
    };
    let spec = MapSpec::new("", map_type, word(0)?, word(1)?, word(2)?);
    let (_, fd) = vm.new_map(spec, None)?;
    answer(fd)
}

fn prog_load(vm: &Vm, prog_type: u32, list: &[u8]) -> Result<i64> {
    let prog_type = ProgType::from_u32(prog_type)
        .ok_or_else(|| invalid(format!("there is no program type {prog_type}")))?;
    let [text, license, fixups] = parse(list, &PROG_KINDS)?;
    let text = text.ok_or_else(|| invalid("attribute TEXT is missing"))?;
    let (slots, _) = text.as_chunks::<8>();
    let insns: Vec<Insn> = slots.iter().map(|s| Insn::from_bytes(*s)).collect();
    let mut spec = ProgramSpec::new(prog_type, insns)
        .license(&license_text(license.unwrap_or_default())?)
        .flat_memory(0, MAX_PACKET as u32);
    let (fixups, _) = fixups.unwrap_or_default().as_chunks::<8>();
    for &[a, b, c, d, e, f, g, h] in fixups {
        let insn = u32::from_ne_bytes([a, b, c, d]);
        spec = spec.fixup_fd(insn, RawFd::from_ne_bytes([e, f, g, h]));
    }
    let (_, fd) = vm.new_program(spec)?;
    answer(fd)
}

fn license_text(bytes: &[u8]) -> Result<String> {
    let end = bytes.iter().position(|&b| b == 0).unwrap_or(bytes.len());
    String::from_utf8(bytes[..end].to_vec())
        .map_err(|_| refuse(errno::EINVAL, "attribute LICENSE is no text"))
}
