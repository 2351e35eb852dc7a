//! From fds to handles: every spelling by which a program names a map.
//!
//! Inside the guest a map is a handle. Before a program goes there, each fd in
//! it is resolved, the object behind it pinned (so that closing or reusing the
//! fd meanwhile can't matter), and a wide load with `src` `BPF_PSEUDO_MAP_FD`
//! or `BPF_PSEUDO_MAP_VALUE` and the handle as immediate takes its place.

mod room;
#[cfg(test)]
mod tests;

use crate::error::{CallerError, Error, Result};
use bpf_core::helper;
use bpf_core::insn::{Insn, op};
use bpf_core::uapi::{ProgType, limits};
use std::os::fd::RawFd;

/// What an fd may turn out not to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoMap {
    /// Not open, or no object of any VM.
    NotOurs,
    /// A program.
    OtherKind,
    /// An object of another VM.
    OtherVm,
}

/// Finds maps by fd.
pub(crate) trait Resolver {
    /// Keeps the object alive.
    type Pin;

    /// The handle of the map behind `fd`, and a pin on it.
    fn map(&self, fd: RawFd) -> std::result::Result<(u32, Self::Pin), NoMap>;
}

/// A program without fds.
pub(crate) struct Fixed<P> {
    /// The instructions, with handles.
    pub insns: Vec<Insn>,
    /// Pins of the maps that they name, each once.
    pub pins: Vec<P>,
    /// Instructions that grew, sorted; once for each slot more.
    grown: Vec<u32>,
    /// For each instruction its index as the caller knows it; empty where
    /// nothing moved.
    pub origin: Vec<u32>,
}

impl<P> Fixed<P> {
    /// The caller's index of an instruction.
    pub fn original(&self, insn: u32) -> u32 {
        self.origin.get(insn as usize).copied().unwrap_or(insn)
    }

    /// Where an instruction of the caller's is now; what was put before it counts
    /// as part of it.
    pub fn place(&self, insn: u32) -> u32 {
        room::new_index(&self.grown, insn) as u32
    }
}

/// Replaces the fds in `insns` by handles. `fixups` is the `{insn_idx, fd}`
/// array, `fd_array` what `BPF_PSEUDO_MAP_IDX` indexes.
pub(crate) fn fix<R: Resolver>(
    insns: &[Insn],
    fixups: &[(u32, RawFd)],
    fd_array: &[RawFd],
    resolver: &R,
) -> Result<Fixed<R::Pin>> {
    let grow = growing(insns, fixups)?;
    let mut room = room::make(insns, &grow)?;
    let mut table = Table {
        resolver,
        found: Vec::new(),
        pins: Vec::new(),
    };
    let named: Vec<(usize, u32, RawFd)> = fixups
        .iter()
        .map(|&(insn, fd)| (room.new_index(insn), insn, fd))
        .collect();
    fix_pseudo(&mut room, &named, fd_array, &mut table)?;
    for (at, insn, fd) in named {
        let handle = table.handle(insn, fd)?;
        set_handle(&mut room.insns, at, handle);
    }
    Ok(Fixed {
        pins: table.pins,
        grown: room.grown,
        origin: if grow.is_empty() {
            Vec::new()
        } else {
            room.origin
        },
        insns: room.insns,
    })
}

/// The `mov` immediates and calls among the named instructions, sorted: they need
/// room. Anything else that is no wide load is refused.
fn growing(insns: &[Insn], fixups: &[(u32, RawFd)]) -> Result<Vec<u32>> {
    const MOV_IMM: u8 = op::ALU64 | op::MOV | op::K;
    let mut growing = Vec::new();
    let mut seen = std::collections::HashSet::new();
    for &(index, _) in fixups {
        let refuse = |what: &str| {
            Error::from(CallerError::Fixup {
                insn: index,
                what: what.into(),
            })
        };
        if !seen.insert(index) {
            return Err(refuse("named by two fixups"));
        }
        let i = index as usize;
        if i > 0 && second_slots(insns).any(|s| s == i) {
            return Err(refuse("a fixup names the second half of a wide load"));
        }
        match insns.get(i) {
            None => return Err(refuse("a fixup names an instruction beyond the end")),
            Some(insn) if insn.opcode == MOV_IMM || calls_map_function(insn) => {
                growing.push(index);
            }
            Some(insn) if insn.is_wide() && i + 1 < insns.len() => {}
            Some(_) => {
                return Err(refuse(
                    "a fixup must name a 64-bit mov immediate, a 16-byte immediate load or the \
                     call of a map function",
                ));
            }
        }
    }
    growing.sort_unstable();
    Ok(growing)
}

/// Whether it calls a helper whose first argument is a map.
fn calls_map_function(insn: &Insn) -> bool {
    insn.opcode == op::JMP | op::CALL
        && insn.src == 0
        && u32::try_from(insn.imm)
            .ok()
            .and_then(|id| helper::proto(id, ProgType::Flat))
            .is_some_and(|p| p.args.first() == Some(&helper::Arg::MapPtr))
}

/// Indices of the second slots of wide instructions.
fn second_slots(insns: &[Insn]) -> impl Iterator<Item = usize> {
    let mut skip = false;
    insns.iter().enumerate().filter_map(move |(i, insn)| {
        let second = skip;
        skip = !second && insn.is_wide();
        second.then_some(i)
    })
}

/// Resolves the pseudo loads, but for those that a fixup names.
fn fix_pseudo<R: Resolver>(
    room: &mut room::Room,
    named: &[(usize, u32, RawFd)],
    fd_array: &[RawFd],
    table: &mut Table<'_, R>,
) -> Result<()> {
    let named: std::collections::HashSet<usize> = named.iter().map(|n| n.0).collect();
    let mut i = 0;
    while i < room.insns.len() {
        let insn = room.insns[i];
        let step = if insn.is_wide() { 2 } else { 1 };
        if step == 2 && !named.contains(&i) {
            let origin = room.origin[i];
            if let Some((fd, src)) = named_fd(&insn, origin, fd_array)? {
                let handle = table.handle(origin, fd)?;
                room.insns[i].src = src;
                room.insns[i].imm = handle as i32;
            }
        }
        i += step;
    }
    Ok(())
}

/// The fd that a wide load names, and the `src` it is to have afterwards.
fn named_fd(insn: &Insn, index: u32, fd_array: &[RawFd]) -> Result<Option<(RawFd, u8)>> {
    let by_index = |src| {
        let fd = usize::try_from(insn.imm).ok().and_then(|i| fd_array.get(i));
        fd.map(|&fd| Some((fd, src))).ok_or_else(|| {
            Error::from(CallerError::Fixup {
                insn: index,
                what: format!(
                    "index {} lies outside fd_array, which has {} entries",
                    insn.imm,
                    fd_array.len()
                ),
            })
        })
    };
    match insn.src {
        op::PSEUDO_MAP_FD | op::PSEUDO_MAP_VALUE => Ok(Some((insn.imm, insn.src))),
        op::PSEUDO_MAP_IDX => by_index(op::PSEUDO_MAP_FD),
        op::PSEUDO_MAP_IDX_VALUE => by_index(op::PSEUDO_MAP_VALUE),
        _ => Ok(None),
    }
}

/// Makes the wide load at `at` load a map (or its value, if it did so before).
fn set_handle(insns: &mut [Insn], at: usize, handle: u32) {
    let value = matches!(
        insns[at].src,
        op::PSEUDO_MAP_VALUE | op::PSEUDO_MAP_IDX_VALUE
    );
    insns[at].imm = handle as i32;
    if value {
        insns[at].src = op::PSEUDO_MAP_VALUE;
    } else {
        insns[at].src = op::PSEUDO_MAP_FD;
        insns[at + 1].imm = 0;
    }
}

/// What was resolved so far.
struct Table<'a, R: Resolver> {
    resolver: &'a R,
    found: Vec<(RawFd, u32)>,
    pins: Vec<R::Pin>,
}

impl<R: Resolver> Table<'_, R> {
    fn handle(&mut self, insn: u32, fd: RawFd) -> Result<u32> {
        if let Some(&(_, handle)) = self.found.iter().find(|f| f.0 == fd) {
            return Ok(handle);
        }
        let (handle, pin) = self.resolver.map(fd).map_err(|e| match e {
            NoMap::NotOurs => CallerError::BadFd { insn, fd },
            NoMap::OtherKind => CallerError::NotAMap { insn, fd },
            NoMap::OtherVm => CallerError::OtherVm { insn, fd },
        })?;
        if !self.found.iter().any(|f| f.1 == handle) {
            if self.pins.len() == limits::USED_MAPS {
                return Err(CallerError::TooManyMaps.into());
            }
            self.pins.push(pin);
        }
        self.found.push((fd, handle));
        Ok(handle)
    }
}
