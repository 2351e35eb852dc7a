//! 64-bit registers: sets grown from concrete numbers by ranges, refinements
//! and arithmetic, every operation against the members known to be inside.

use super::concrete::*;
use crate::verifier::domain::*;

/// A set and two of its members.
fn set(rng: &mut Rng) -> (Scalar, [u64; 2]) {
    let (a, b) = (rng.number(), rng.number());
    let x = Scalar::constant(a);
    let grown = match rng.below(7) {
        0 => return (x, [a, a]),
        1 => Scalar::UNKNOWN,
        2 => Scalar::from_urange(a.min(b), a.max(b)),
        3 => Scalar::from_srange((a as i64).min(b as i64), (a as i64).max(b as i64)),
        4 => Scalar::from_tnum(Tnum::constant(a).union(Tnum::constant(b))),
        5 => Scalar::from_tnum(Tnum::new(a, a ^ b | rng.next() & rng.next())),
        _ => Scalar::from_urange(a.min(b), a.max(b))
            .neg(Width::W64)
            .neg(Width::W64),
    };
    (narrowed(rng, grown, a), [a, b])
}

/// Narrows by comparisons that hold for `a`; `b` may fall out, which the caller
/// checks.
fn narrowed(rng: &mut Rng, mut set: Scalar, a: u64) -> Scalar {
    for _ in 0..rng.below(3) {
        let op = CMP[rng.below(11) as usize];
        let width = WIDTHS[rng.below(2) as usize];
        let k = rng.number();
        let taken = compare(op, bits_of::<64>(width), a, k);
        set = Scalar::refine_branch(op, width, &set, &Scalar::constant(k), taken).0;
        assert!(
            set.contains(a),
            "{op:?} {width:?} {k:#x} lost {a:#x}: {set}"
        );
    }
    set
}

fn pairs(a: &(Scalar, [u64; 2]), b: &(Scalar, [u64; 2])) -> impl Iterator<Item = (u64, u64)> {
    let (x, y) = (*a, *b);
    (0..4)
        .map(move |i| (x.1[i & 1], y.1[i >> 1]))
        .filter(move |&(p, q)| x.0.contains(p) && y.0.contains(q))
}

#[test]
fn arithmetic_holds_every_result() {
    let mut rng = Rng(2);
    for _ in 0..40_000 {
        let (a, b) = (set(&mut rng), set(&mut rng));
        let op = ALU[rng.below(14) as usize];
        for width in WIDTHS {
            let got = Scalar::alu(op, width, &a.0, &b.0);
            for (x, y) in pairs(&a, &b) {
                let r = alu(op, bits_of::<64>(width), x, y);
                assert!(
                    got.contains(r),
                    "{op:?} {width:?} {} {}: {x:#x} {y:#x} -> {r:#x}, {got}",
                    a.0,
                    b.0
                );
            }
        }
    }
}

#[test]
fn comparisons_keep_every_pair_that_passes() {
    let mut rng = Rng(3);
    for _ in 0..40_000 {
        let (a, b) = (set(&mut rng), set(&mut rng));
        let op = CMP[rng.below(11) as usize];
        for width in WIDTHS {
            let outcome = Scalar::branch_outcome(op, width, &a.0, &b.0);
            for (x, y) in pairs(&a, &b) {
                let taken = compare(op, bits_of::<64>(width), x, y);
                assert!(outcome.is_none_or(|known| known == taken));
                let (ra, rb) = Scalar::refine_branch(op, width, &a.0, &b.0, taken);
                assert!(
                    ra.contains(x) && rb.contains(y),
                    "{op:?} {width:?} {taken} {} {}",
                    a.0,
                    b.0
                );
            }
        }
    }
}

#[test]
fn casts_and_swaps_hold_every_result() {
    let mut rng = Rng(4);
    for _ in 0..20_000 {
        let (a, known) = set(&mut rng);
        for v in known.into_iter().filter(|&v| a.contains(v)) {
            for bits in [8, 16, 32, 64] {
                assert!(a.zero_extend(bits).contains(v & mask(bits)), "{a} {bits}");
                assert!(
                    a.sign_extend(bits, Width::W64)
                        .contains(signed(v, bits) as u64),
                    "{a} {bits}"
                );
                let narrow = bits.min(32);
                let extended = signed(v, narrow) as u64 & mask(32);
                assert!(
                    a.sign_extend(narrow, Width::W32).contains(extended),
                    "{a} {narrow}"
                );
            }
            for bits in [16, 32, 64] {
                let swapped = (v & mask(bits)).swap_bytes() >> (64 - bits);
                assert!(a.byte_swap(Swap::Le, bits).contains(v & mask(bits)));
                assert!(a.byte_swap(Swap::Be, bits).contains(swapped));
                assert!(a.byte_swap(Swap::Bswap, bits).contains(swapped));
            }
        }
    }
}
