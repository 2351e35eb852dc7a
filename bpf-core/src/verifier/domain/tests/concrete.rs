//! BPF arithmetic on concrete numbers of any width, written for clarity, and
//! sets to try it on.

use crate::verifier::domain::*;
use alloc::vec::Vec;
use std::collections::HashSet;

pub const ALU: [AluOp; 14] = [
    AluOp::Add,
    AluOp::Sub,
    AluOp::Mul,
    AluOp::Div,
    AluOp::Mod,
    AluOp::Sdiv,
    AluOp::Smod,
    AluOp::Or,
    AluOp::And,
    AluOp::Xor,
    AluOp::Lsh,
    AluOp::Rsh,
    AluOp::Arsh,
    AluOp::Mov,
];

pub const CMP: [CmpOp; 11] = [
    CmpOp::Eq,
    CmpOp::Ne,
    CmpOp::Gt,
    CmpOp::Ge,
    CmpOp::Lt,
    CmpOp::Le,
    CmpOp::Set,
    CmpOp::Sgt,
    CmpOp::Sge,
    CmpOp::Slt,
    CmpOp::Sle,
];

pub const WIDTHS: [Width; 2] = [Width::W32, Width::W64];

pub fn bits_of<const W: u32>(width: Width) -> u32 {
    match width {
        Width::W64 => W,
        Width::W32 => W / 2,
    }
}

pub fn mask(bits: u32) -> u64 {
    u64::MAX >> (64 - bits)
}

pub fn signed(v: u64, bits: u32) -> i128 {
    let v = (v & mask(bits)) as i128;
    if v >> (bits - 1) == 1 {
        v - (1 << bits)
    } else {
        v
    }
}

/// One operation on `bits`-bit numbers.
pub fn alu(op: AluOp, bits: u32, a: u64, b: u64) -> u64 {
    let (a, b) = (a & mask(bits), b & mask(bits));
    let (sa, sb) = (signed(a, bits), signed(b, bits));
    let shift = (b % bits as u64) as u32;
    let result = match op {
        AluOp::Add => a.wrapping_add(b),
        AluOp::Sub => a.wrapping_sub(b),
        AluOp::Mul => a.wrapping_mul(b),
        AluOp::Div => a.checked_div(b).unwrap_or(0),
        AluOp::Mod => a.checked_rem(b).unwrap_or(a),
        AluOp::Sdiv => sa.checked_div(sb).unwrap_or(0) as u64,
        AluOp::Smod => sa.checked_rem(sb).unwrap_or(sa) as u64,
        AluOp::Or => a | b,
        AluOp::And => a & b,
        AluOp::Xor => a ^ b,
        AluOp::Lsh => a << shift,
        AluOp::Rsh => a >> shift,
        AluOp::Arsh => (sa >> shift) as u64,
        AluOp::Mov => b,
    };
    result & mask(bits)
}

pub fn compare(op: CmpOp, bits: u32, a: u64, b: u64) -> bool {
    let (a, b) = (a & mask(bits), b & mask(bits));
    let (sa, sb) = (signed(a, bits), signed(b, bits));
    match op {
        CmpOp::Eq => a == b,
        CmpOp::Ne => a != b,
        CmpOp::Gt => a > b,
        CmpOp::Ge => a >= b,
        CmpOp::Lt => a < b,
        CmpOp::Le => a <= b,
        CmpOp::Set => a & b != 0,
        CmpOp::Sgt => sa > sb,
        CmpOp::Sge => sa >= sb,
        CmpOp::Slt => sa < sb,
        CmpOp::Sle => sa <= sb,
    }
}

pub fn members<const W: u32, const H: u32>(n: &Num<W, H>) -> Vec<u64> {
    (0..=mask(W)).filter(|&v| n.contains(v)).collect()
}

/// All sets of known bits, all unsigned and all signed ranges.
pub fn small_sets<const W: u32, const H: u32>() -> Vec<Num<W, H>> {
    let (mut seen, mut sets) = (HashSet::new(), Vec::new());
    let mut add = |set| {
        if seen.insert(set) {
            sets.push(set);
        }
    };
    for mask_bits in 0..=mask(W) {
        for value in (0..=mask(W)).filter(|v| v & mask_bits == 0) {
            add(Num::from_tnum(Tnum::new(value, mask_bits)));
        }
    }
    for lo in 0..=mask(W) {
        for hi in lo..=mask(W) {
            add(Num::from_urange(lo, hi));
            let flip = |v| signed(v ^ (1 << (W - 1)), W) as i64;
            add(Num::from_srange(flip(lo), flip(hi)));
        }
    }
    sets
}

/// A small, fast and reproducible random number generator (splitmix64).
pub struct Rng(pub u64);

impl Rng {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    /// A number of the kind that breaks arithmetic: small, near a power of two,
    /// near the ends of either half, or any.
    pub fn number(&mut self) -> u64 {
        let near = self.below(5).wrapping_sub(2);
        match self.below(6) {
            0 => near,
            1 => (1u64 << self.below(64)).wrapping_add(near),
            2 => (1u64 << self.below(64)).wrapping_neg().wrapping_add(near),
            3 => self.next() >> self.below(64),
            4 => (self.below(3).wrapping_sub(1) << 32).wrapping_add(near),
            _ => self.next(),
        }
    }
}
