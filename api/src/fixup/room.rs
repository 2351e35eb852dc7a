//! Making room: a `mov` immediate that a fixup names becomes a wide load, which
//! takes one slot more; every jump, call and function reference is mended.

use crate::error::{CallerError, Error, Result};
use bpf_core::insn::{Insn, op};

/// A program in which some instructions moved.
pub(super) struct Room {
    pub insns: Vec<Insn>,
    /// For each instruction its index before.
    pub origin: Vec<u32>,
    pub global_funcs: Vec<u32>,
    /// Instructions that grew by one slot, sorted.
    grown: Vec<u32>,
}

impl Room {
    /// Where an instruction is now.
    pub fn new_index(&self, old: u32) -> usize {
        new_index(&self.grown, old)
    }
}

fn new_index(grown: &[u32], old: u32) -> usize {
    old as usize + grown.partition_point(|&g| g < old)
}

/// Turns the `mov`s at the (sorted) indices `movs` into wide loads.
pub(super) fn make(insns: &[Insn], movs: &[u32], global_funcs: &[u32]) -> Result<Room> {
    let mut out = Vec::with_capacity(insns.len() + movs.len());
    let mut origin = Vec::with_capacity(insns.len() + movs.len());
    let mut second = false;
    for (i, insn) in insns.iter().enumerate() {
        let index = i as u32;
        let mended = if second {
            *insn
        } else {
            mend(insn, index, movs)?
        };
        second = !second && insn.is_wide();
        if movs.binary_search(&index).is_ok() {
            out.push(Insn::new(op::LD_IMM64, insn.dst, 0, 0, insn.imm));
            out.push(Insn::default());
            origin.push(index);
        } else {
            out.push(mended);
        }
        origin.push(index);
    }
    Ok(Room {
        insns: out,
        origin,
        global_funcs: global_funcs
            .iter()
            .map(|&f| new_index(movs, f) as u32)
            .collect(),
        grown: movs.to_vec(),
    })
}

/// Where an instruction keeps the distance to another one.
enum Distance {
    Off,
    Imm,
}

fn distance(insn: &Insn) -> Option<Distance> {
    let class = insn.class();
    if insn.is_wide() {
        return (insn.src == op::PSEUDO_FUNC).then_some(Distance::Imm);
    }
    if class != op::JMP && class != op::JMP32 {
        return None;
    }
    match insn.opcode & 0xf0 {
        op::EXIT => None,
        op::CALL => (insn.src == op::PSEUDO_CALL).then_some(Distance::Imm),
        op::JA if class == op::JMP32 => Some(Distance::Imm),
        _ => Some(Distance::Off),
    }
}

/// The instruction with its distance counted over the slots that came between.
fn mend(insn: &Insn, index: u32, grown: &[u32]) -> Result<Insn> {
    let Some(kind) = distance(insn) else {
        return Ok(*insn);
    };
    let old = match kind {
        Distance::Off => i64::from(insn.off),
        Distance::Imm => i64::from(insn.imm),
    };
    let Ok(target) = u32::try_from(i64::from(index) + 1 + old) else {
        return Ok(*insn); // out of the program: the verifier says so
    };
    let new = new_index(grown, target) as i64 - new_index(grown, index) as i64 - 1;
    let mut mended = *insn;
    match kind {
        Distance::Imm => mended.imm = new as i32,
        Distance::Off => {
            mended.off = i16::try_from(new).map_err(|_| {
                Error::from(CallerError::Fixup {
                    insn: index,
                    what: "the jump gets too long when fixups make room".into(),
                })
            })?;
        }
    }
    Ok(mended)
}
