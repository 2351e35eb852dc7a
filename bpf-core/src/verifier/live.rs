//! Which registers an instruction's successors may still read.
use super::structure::{self, Shape};
use crate::insn::{Insn, op};
use alloc::vec::Vec;

const CALLER_SAVED: u16 = 0x3f;
const ARGS: u16 = 0x3e;

/// Bit sets (bit n for Rn) of the registers that may be read at or after each
/// instruction before being written, within its function.
pub(crate) fn registers(insns: &[Insn], shape: &Shape) -> Vec<u16> {
    let mut live = alloc::vec![0u16; insns.len()];
    for (nr, &start) in shape.starts.iter().enumerate() {
        let end = shape.end(nr);
        loop {
            let mut changed = false;
            for at in (start..end).rev() {
                let i = &insns[at];
                let out = after(insns, &live, at, i);
                let (used, defined) = effect(i);
                let new = (out & !defined) | used;
                changed |= new != live[at];
                live[at] = new;
            }
            if !changed {
                break;
            }
        }
    }
    live
}

fn after(insns: &[Insn], live: &[u16], at: usize, i: &Insn) -> u16 {
    let get = |t: usize| live.get(t).copied().unwrap_or(0);
    let mut out = 0;
    if !structure::ends_flow(i) {
        let step = if i.is_wide() && at + 1 < insns.len() {
            2
        } else {
            1
        };
        out |= get(at + step);
    }
    if let Some(t) = structure::jump_target(at, i) {
        out |= get(t as usize);
    }
    out
}

/// Registers read and registers written.
pub(crate) fn effect(i: &Insn) -> (u16, u16) {
    let bit = |r: u8| 1u16 << (r & 15);
    let (d, s) = (bit(i.dst), bit(i.src));
    match i.class() {
        op::ALU | op::ALU64 => match i.opcode & 0xf0 {
            op::MOV if i.opcode & op::X != 0 => (s, d),
            op::MOV => (0, d),
            op::NEG | op::END => (d, d),
            _ if i.opcode & op::X != 0 => (d | s, d),
            _ => (d, d),
        },
        op::LD if i.is_wide() => (0, d),
        op::LD if i.opcode & 0xe0 == op::IND => (bit(6) | s, CALLER_SAVED),
        op::LD => (bit(6), CALLER_SAVED),
        op::LDX => (s, d),
        op::ST => (d, 0),
        op::STX if i.opcode & 0xe0 == op::ATOMIC => match i.imm {
            op::CMPXCHG => (d | s | 1, 1),
            op::LOAD_ACQ => (s, d),
            op::STORE_REL => (d | s, 0),
            imm if imm & op::FETCH != 0 => (d | s, s),
            _ => (d | s, 0),
        },
        op::STX => (d | s, 0),
        _ => match i.opcode & 0xf0 {
            op::JA | op::JCOND => (0, 0),
            op::CALL => (ARGS, CALLER_SAVED),
            op::EXIT => (1, 0),
            _ if i.opcode & op::X != 0 => (d | s, 0),
            _ => (d, 0),
        },
    }
}
