//! Small damage to a program.

use super::{Rng, Sample};
use bpf_core::insn::Insn;

/// The sample with one or two instructions changed.
pub fn mutate(rng: &mut Rng, parent: &Sample) -> Sample {
    let mut sample = parent.clone();
    for _ in 0..rng.within(1, 2) {
        let at = rng.below(sample.insns.len() as u64) as usize;
        damage(rng, &mut sample.insns, at);
    }
    sample
}

fn damage(rng: &mut Rng, insns: &mut [Insn], at: usize) {
    let other = rng.below(insns.len() as u64) as usize;
    let Some(insn) = insns.get_mut(at) else {
        return;
    };
    // Back edges make the kernel's verifier work long: jumps stay forward.
    let jumps = matches!(insn.class(), 5 | 6);
    match rng.below(10) {
        0 => insn.imm = insn.imm.wrapping_add(rng.pick(&[-8, -1, 1, 8])),
        1 if !jumps => insn.imm = rng.imm(),
        2 if !jumps => insn.off = insn.off.wrapping_add(rng.pick(&[-8, -1, 1, 8])),
        3 if jumps => insn.off = insn.off.saturating_add(1),
        4 => insn.dst = rng.below(11) as u8,
        5 => insn.src = rng.below(11) as u8,
        6 => insn.opcode ^= rng.pick(&[0x08, 0x10, 0x18, 0x04]),
        7 if insn.class() >= 4 => insn.opcode = insn.opcode & 0x0f | (rng.word() as u8 & 0xf0),
        8 => insns.swap(at, other),
        _ => *insn = Insn::new(0x05, 0, 0, 0, 0),
    }
}
