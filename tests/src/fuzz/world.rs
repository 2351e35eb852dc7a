//! What surrounds a program: maps with the same contents everywhere, and what is
//! looked at afterwards.
//!
//! Maps are those of [`MAPS`], named by index plus one. The program array holds
//! a program that returns [`TAIL_RESULT`] at 0 and the program itself at 1.

use crate::generate::{MAPS, Sample};
use bpf_core::insn::{Insn, op};
use bpf_core::uapi::MapType;

/// What the target of tail calls returns.
pub const TAIL_RESULT: i32 = 0x7a11;

/// The target of tail calls.
pub fn tail_target() -> [Insn; 2] {
    [
        Insn::new(op::ALU64 | op::MOV | op::K, 0, 0, 0, TAIL_RESULT),
        Insn::new(op::JMP | op::EXIT, 0, 0, 0, 0),
    ]
}

/// Key and value of an element.
pub type Element = (Vec<u8>, Vec<u8>);

/// What came of a case in one place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Not loaded.
    Rejected {
        /// Positive errno.
        errno: i32,
        /// Why, if known.
        reason: String,
        /// Outside what bpfvisor means to do.
        unsupported: bool,
    },
    /// Loaded and run.
    Ran(Seen),
    /// Loaded, but not run to the end in the time it had.
    TimedOut,
    /// The place itself failed.
    Broken(String),
}

/// What is seen of the runs of a case.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Return value and packet afterwards, for each packet.
    pub runs: Vec<(u32, Vec<u8>)>,
    /// The whole of R0 after the first packet, where it is known.
    pub r0: Option<u64>,
    /// Map handle and elements in the order of their keys.
    pub maps: Vec<(usize, Vec<Element>)>,
}

impl Seen {
    /// How this differs from `other`, if it does.
    pub fn difference(&self, other: &Self) -> Option<String> {
        for (at, (a, b)) in self.runs.iter().zip(&other.runs).enumerate() {
            if a.0 != b.0 {
                return Some(format!("retval {:#x} and {:#x}, packet {at}", a.0, b.0));
            }
            if a.1 != b.1 {
                return Some(format!("data {:02x?} and {:02x?}, packet {at}", a.1, b.1));
            }
        }
        if let (Some(a), Some(b)) = (self.r0, other.r0)
            && a != b
        {
            return Some(format!("r0 {a:#x} and {b:#x}"));
        }
        let mut maps = self.maps.iter().zip(&other.maps);
        let (a, b) = maps.find(|(a, b)| a != b)?;
        Some(format!("map {}: {:02x?} and {:02x?}", a.0, a.1, b.1))
    }
}

/// Handles of the maps that a program names.
pub fn used_maps(sample: &Sample) -> Vec<usize> {
    let names_map = |insn: &&Insn| {
        insn.is_wide() && matches!(insn.src, op::PSEUDO_MAP_FD | op::PSEUDO_MAP_VALUE)
    };
    let named = sample.insns.iter().filter(names_map);
    let mut handles: Vec<usize> = named.map(|insn| insn.imm as usize).collect();
    handles.retain(|handle| (1..=MAPS.len()).contains(handle));
    handles.sort();
    handles.dedup();
    handles
}

/// The program with handles replaced by what `fd` gives for them.
pub fn with_fds(sample: &Sample, fd: impl Fn(usize) -> i32) -> Vec<Insn> {
    let mut insns = sample.insns.clone();
    for insn in &mut insns {
        if insn.is_wide() && matches!(insn.src, op::PSEUDO_MAP_FD | op::PSEUDO_MAP_VALUE) {
            insn.imm = fd(insn.imm as usize);
        }
    }
    insns
}

/// What a map of this handle holds in the beginning. Elements of queues have no
/// keys; program arrays are filled by the targets.
pub fn contents(handle: usize) -> Vec<Element> {
    let spec = &MAPS[handle - 1];
    let value = |seed: usize| {
        let bytes = 0..spec.value_size as usize;
        bytes.map(|at| (at * 7 + seed * 31) as u8).collect()
    };
    match spec.map_type {
        MapType::Array => (0..spec.max_entries)
            .map(|key| (key.to_ne_bytes().to_vec(), value(key as usize)))
            .collect(),
        MapType::Hash => (0..4u64)
            .map(|key| (key.to_ne_bytes().to_vec(), value(key as usize)))
            .collect(),
        MapType::Queue => vec![(Vec::new(), value(1)), (Vec::new(), value(2))],
        _ => Vec::new(),
    }
}

/// How a map's contents are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// By going through the keys.
    Walk,
    /// By taking everything out.
    Pop,
    /// Not at all.
    Ignore,
}

/// How the contents of a map of this handle are looked at.
pub fn look(handle: usize) -> Look {
    match MAPS[handle - 1].map_type {
        MapType::Array | MapType::Hash => Look::Walk,
        MapType::Queue => Look::Pop,
        _ => Look::Ignore,
    }
}
