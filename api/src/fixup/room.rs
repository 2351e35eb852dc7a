//! Making room: a `mov` immediate that a fixup names becomes a wide load, which
//! takes one slot more; before a call that it names comes a wide load of R1, which
//! takes two. Every jump, call and function reference is mended.

use crate::error::{CallerError, Error, Result};
use bpf_core::insn::{Insn, op};

/// A program in which some instructions moved.
pub(super) struct Room {
    pub insns: Vec<Insn>,
    /// For each instruction its index before.
    pub origin: Vec<u32>,
    /// Instructions that grew, sorted; once for each slot more.
    pub grown: Vec<u32>,
}

impl Room {
    /// Where an instruction is now.
    pub fn new_index(&self, old: u32) -> usize {
        new_index(&self.grown, old)
    }
}

/// Where an instruction is, given those that grew.
pub(super) fn new_index(grown: &[u32], old: u32) -> usize {
    old as usize + grown.partition_point(|&g| g < old)
}

/// Makes room at the (sorted) indices `named`: `mov`s turn into wide loads,
/// before calls R1 is loaded. A jump to such a call goes to the load.
pub(super) fn make(insns: &[Insn], named: &[u32]) -> Result<Room> {
    let grown = growth(insns, named);
    let mut out = Vec::with_capacity(insns.len() + grown.len());
    let mut origin = Vec::with_capacity(insns.len() + grown.len());
    let mut second = false;
    for (i, insn) in insns.iter().enumerate() {
        let index = i as u32;
        let mended = if second {
            *insn
        } else {
            mend(insn, index, &grown)?
        };
        second = !second && insn.is_wide();
        if named.binary_search(&index).is_ok() {
            let load = match is_call(insn) {
                true => Insn::new(op::LD_IMM64, 1, 0, 0, 0),
                false => Insn::new(op::LD_IMM64, insn.dst, 0, 0, insn.imm),
            };
            out.extend([load, Insn::default()]);
            if is_call(insn) {
                out.push(mended);
            }
        } else {
            out.push(mended);
        }
        origin.resize(out.len(), index);
    }
    Ok(Room {
        insns: out,
        origin,
        grown,
    })
}

fn is_call(insn: &Insn) -> bool {
    insn.opcode == op::JMP | op::CALL
}

fn growth(insns: &[Insn], named: &[u32]) -> Vec<u32> {
    let slots = |&i: &u32| match insns.get(i as usize) {
        Some(insn) if is_call(insn) => 2,
        _ => 1,
    };
    named
        .iter()
        .flat_map(|i| std::iter::repeat_n(*i, slots(i)))
        .collect()
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
