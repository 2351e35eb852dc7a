//! Every operation on sets of 4-bit registers with 2-bit halves, against every
//! member; casts on 6-bit and agreement of descriptions on 8-bit registers.
//! Every set meets every `STRIDE`th other, so that the tests stay short.

use super::concrete::*;
use crate::verifier::domain::*;
use alloc::vec::Vec;

const STRIDE: usize = 6;

type Small = Num<4, 2>;

fn with_members() -> Vec<(Small, Vec<u64>)> {
    let sets = small_sets::<4, 2>();
    sets.into_iter().map(|set| (set, members(&set))).collect()
}

#[test]
fn construction_keeps_every_member() {
    for lo in 0..=255u64 {
        for hi in lo..=255 {
            let (u, s) = (
                Num::<8, 4>::from_urange(lo, hi),
                (signed(lo, 8), signed(hi, 8)),
            );
            assert!((lo..=hi).all(|v| u.contains(v)));
            assert_eq!((u.umin(), u.umax()), (lo, hi));
            if s.0 <= s.1 {
                let set = Num::<8, 4>::from_srange(s.0 as i64, s.1 as i64);
                assert!((s.0..=s.1).all(|v| set.contains(v as u64 & 255)));
            }
        }
    }
}

#[test]
fn arithmetic_holds_every_result() {
    let sets = with_members();
    for (at, (a, in_a)) in sets.iter().enumerate() {
        for (b, in_b) in sets.iter().skip(at % STRIDE).step_by(STRIDE) {
            for (op, width) in ALU.into_iter().flat_map(|op| WIDTHS.map(|w| (op, w))) {
                let bits = bits_of::<4>(width);
                let got = Small::alu(op, width, a, b);
                for (&x, &y) in in_a.iter().flat_map(|x| in_b.iter().map(move |y| (x, y))) {
                    let r = alu(op, bits, x, y);
                    assert!(
                        got.contains(r),
                        "{op:?} {width:?} {a:?} {b:?}: {x} {y} -> {r}, {got:?}"
                    );
                }
            }
        }
    }
}

#[test]
fn comparisons_keep_every_pair_that_passes() {
    let sets = with_members();
    for (at, (a, in_a)) in sets.iter().enumerate() {
        for (b, in_b) in sets.iter().skip(at % STRIDE).step_by(STRIDE) {
            for (op, width) in CMP.into_iter().flat_map(|op| WIDTHS.map(|w| (op, w))) {
                let bits = bits_of::<4>(width);
                let outcome = Small::branch_outcome(op, width, a, b);
                let refined = [false, true].map(|t| Small::refine_branch(op, width, a, b, t));
                for (&x, &y) in in_a.iter().flat_map(|x| in_b.iter().map(move |y| (x, y))) {
                    let taken = compare(op, bits, x, y);
                    assert!(
                        outcome.is_none_or(|known| known == taken),
                        "{op:?} {width:?} {taken} of {x} {y} ruled out: {a:?} {b:?}"
                    );
                    let (ra, rb) = refined[taken as usize];
                    assert!(
                        ra.contains(x) && rb.contains(y),
                        "{op:?} {width:?} {taken} of {x} {y}: {a:?} {b:?} -> {ra:?} {rb:?}"
                    );
                }
            }
        }
    }
}

#[test]
fn the_order_agrees_with_the_members() {
    let sets = with_members();
    for (a, in_a) in &sets {
        for (b, in_b) in &sets {
            if a.is_subset_of(b) {
                assert!(in_a.iter().all(|v| in_b.contains(v)));
            }
        }
    }
}

#[test]
fn casts_hold_every_result() {
    for set in small_sets::<6, 3>() {
        for bits in 1..=6 {
            let zero = set.zero_extend(bits);
            let sign = WIDTHS.map(|w| (w, set.sign_extend(bits.min(bits_of::<6>(w)), w)));
            for v in members(&set) {
                assert!(zero.contains(v & mask(bits)));
                for (width, got) in sign {
                    let whole = bits_of::<6>(width);
                    let r = signed(v, bits.min(whole)) as u64 & mask(whole);
                    assert!(
                        got.contains(r),
                        "{set:?} {bits} {width:?}: {v} -> {r}, {got:?}"
                    );
                }
            }
        }
        for width in WIDTHS {
            let whole = bits_of::<6>(width);
            let negated = set.neg(width);
            assert!(
                members(&set)
                    .iter()
                    .all(|v| negated.contains(v.wrapping_neg() & mask(whole)))
            );
        }
    }
}

/// Random bundles of descriptions: agreement must not lose a common member.
#[test]
fn agreement_keeps_the_common_members() {
    let mut rng = Rng(1);
    let mut useful = 0;
    for _ in 0..60_000 {
        let tnum = Tnum::new(
            rng.next(),
            rng.next() & rng.next() | rng.next() & rng.next(),
        )
        .truncate(8);
        let (u, s) = (range(&mut rng, 8), range(&mut rng, 8));
        let (lu, ls) = (range(&mut rng, 4), range(&mut rng, 4));
        let wide = Bounds::<8> {
            umin: u.0,
            umax: u.1,
            smin: s.0 as i64 - 128,
            smax: s.1 as i64 - 128,
        };
        let low = Bounds::<4> {
            umin: lu.0,
            umax: lu.1,
            smin: ls.0 as i64 - 8,
            smax: ls.1 as i64 - 8,
        };
        let inside = |v: &u64| tnum.contains(*v) && wide.contains(*v) && low.contains(*v);
        let common: Vec<u64> = (0..256).filter(inside).collect();
        if common.is_empty() {
            continue;
        }
        useful += 1;
        let n = Num::<8, 4> { tnum, wide, low }.synced();
        let kept = common.iter().all(|&v| n.contains(v));
        assert!(kept, "{tnum:?} {wide:?} {low:?} -> {n:?}");
        assert_eq!(n.sane(), n);
    }
    assert!(useful > 4_000, "only {useful} bundles were not empty");
}

fn range(rng: &mut Rng, bits: u32) -> (u64, u64) {
    let (a, b) = (rng.next() & mask(bits), rng.next() & mask(bits));
    (a.min(b), a.max(b))
}
