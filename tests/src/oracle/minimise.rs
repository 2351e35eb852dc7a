//! Making a program that shows something as small as can be.

use crate::generate::Sample;
use bpf_core::insn::{Insn, op};

/// Jumps to the next instruction: what a deleted instruction is replaced with,
/// so that all others keep their places.
const NOTHING: Insn = Insn::new(op::JMP | op::JA, 0, 0, 0, 0);

/// The sample with as many instructions as possible removed, such that `shows`
/// still holds. Removes runs first, then single instructions, until nothing
/// more can go.
pub fn minimise(sample: &Sample, shows: impl Fn(&Sample) -> bool) -> Sample {
    let mut best = sample.clone();
    loop {
        let before = best.clone();
        for run in [16, 4, 2, 1] {
            for at in 0..best.insns.len() {
                attempt(&mut best, &shows, |insns| blank(insns, at, run));
                attempt(&mut best, &shows, |insns| cut(insns, at, run));
            }
        }
        if best == before {
            return best;
        }
    }
}

fn attempt(best: &mut Sample, shows: impl Fn(&Sample) -> bool, change: impl Fn(&mut Vec<Insn>)) {
    let mut trial = best.clone();
    change(&mut trial.insns);
    if trial != *best && shows(&trial) {
        *best = trial;
    }
}

/// Replaces instructions by nothing.
fn blank(insns: &mut [Insn], at: usize, run: usize) {
    for insn in insns.iter_mut().skip(at).take(run) {
        *insn = NOTHING;
    }
}

/// Takes instructions out and adapts the jumps across them.
fn cut(insns: &mut Vec<Insn>, at: usize, run: usize) {
    let end = (at + run).min(insns.len());
    let moved = |place: i64| match place {
        p if p <= at as i64 => p,
        p if p < end as i64 => at as i64,
        p => p - (end - at) as i64,
    };
    for (from, insn) in insns.iter_mut().enumerate() {
        let shifted = |distance: i64| {
            let target = from as i64 + 1 + distance;
            moved(target) - moved(from as i64) - 1
        };
        let call = insn.opcode == op::JMP | op::CALL;
        match insn.class() {
            op::JMP if call && insn.src == op::PSEUDO_CALL => {
                insn.imm = shifted(insn.imm as i64) as i32;
            }
            op::JMP if call || insn.opcode == op::JMP | op::EXIT => {}
            op::JMP32 if insn.opcode == op::JMP32 | op::JA => {
                insn.imm = shifted(insn.imm as i64) as i32;
            }
            op::LD if insn.is_wide() && insn.src == op::PSEUDO_FUNC => {
                insn.imm = shifted(insn.imm as i64) as i32;
            }
            op::JMP | op::JMP32 => insn.off = shifted(insn.off as i64) as i16,
            _ => {}
        }
    }
    insns.drain(at.min(end)..end);
}
