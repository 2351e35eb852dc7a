//! Which registers an instruction's successors may still read.
use super::structure;
use crate::insn::{Insn, op};
use alloc::vec::Vec;

const CALLER_SAVED: u16 = 0x3f;
const ARGS: u16 = 0x3e;
const ALL: u16 = 0x7ff;

/// Bit sets (bit n for Rn) of the registers that may be read at or after each
/// instruction before being written, within its function.
pub(crate) fn registers(insns: &[Insn]) -> Vec<u16> {
    let mut live = alloc::vec![0u16; insns.len()];
    let jumps = Jumps::new(insns);
    let mut todo: Vec<u32> = Vec::new();
    // Backwards once, then only what loops carry back: each instruction changes at
    // most as often as there are registers.
    for at in (0..insns.len()).rev() {
        if update(insns, &mut live, at) {
            todo.extend(jumps.to(at).filter(|&from| from as usize > at));
        }
    }
    while let Some(at) = todo.pop() {
        let at = at as usize;
        if update(insns, &mut live, at) {
            todo.extend(jumps.to(at));
            // One of these goes on to here, or none.
            todo.extend((at.saturating_sub(2)..at).map(|from| from as u32));
        }
    }
    live
}

/// Recomputes one instruction; whether something changed.
fn update(insns: &[Insn], live: &mut [u16], at: usize) -> bool {
    let i = &insns[at];
    // Linux does not look into packet loads: they count as reading everything.
    let (used, defined) = match structure::is_packet_load(i) {
        true => (ALL, 0),
        false => effect(i),
    };
    let new = (after(insns, live, at, i) & !defined) | used;
    core::mem::replace(&mut live[at], new) != new
}

/// Jumps by where they lead: target and source, sorted.
struct Jumps(Vec<(u32, u32)>);

impl Jumps {
    fn new(insns: &[Insn]) -> Self {
        let jumps = insns.iter().enumerate().filter_map(|(at, i)| {
            let target = structure::jump_target(at, i)?;
            Some((u32::try_from(target).ok()?, at as u32))
        });
        let mut jumps: Vec<_> = jumps.collect();
        jumps.sort_unstable();
        Self(jumps)
    }

    fn to(&self, target: usize) -> impl Iterator<Item = u32> {
        let target = target as u32;
        let first = self.0.partition_point(|&(to, _)| to < target);
        let from_here = self.0.iter().skip(first);
        from_here
            .take_while(move |&&(to, _)| to == target)
            .map(|&(_, from)| from)
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::insn::build::{exit, ja, ja32, jmp_imm, mov64_reg};

    /// The same by sweeps until nothing changes.
    fn by_sweeps(insns: &[Insn]) -> Vec<u16> {
        let mut live = alloc::vec![0u16; insns.len()];
        while (0..insns.len())
            .rev()
            .fold(false, |changed, at| update(insns, &mut live, at) | changed)
        {}
        live
    }

    #[test]
    fn loops_carry_registers_back_as_sweeps_would() {
        let mut state = 1u64;
        let mut below = |n: u64| {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1);
            (state >> 33) % n
        };
        for _ in 0..2000 {
            let len = 2 + below(30);
            let mut insns: Vec<Insn> = (0..len)
                .map(|at| {
                    let off = (below(len) as i64 - at as i64 - 1) as i16;
                    match below(4) {
                        0 => jmp_imm(op::JEQ, below(10) as u8, 0, off),
                        1 => ja(off),
                        _ => mov64_reg(below(10) as u8, below(10) as u8),
                    }
                })
                .collect();
            insns.push(exit());
            assert_eq!(registers(&insns), by_sweeps(&insns), "{insns:?}");
        }
    }

    /// Sweeps over this one would take half an hour.
    #[test]
    fn a_chain_of_jumps_backwards_is_followed_once() {
        const LEN: i32 = 500_000;
        let mut insns = alloc::vec![ja32(LEN - 2), mov64_reg(0, 1), exit(), ja(-3)];
        insns.resize(LEN as usize, ja(-2));
        assert!(registers(&insns).iter().skip(3).all(|&live| live == 2));
    }
}
