//! Known bits: every operation on every pair of 4-bit sets, shifted to several
//! places; sums and the like are compared with the best possible answer.

use super::concrete::mask;
use crate::verifier::domain::Tnum;
use alloc::vec::Vec;

fn all(bits: u32) -> Vec<Tnum> {
    let pairs = (0..=mask(bits)).flat_map(|m| (0..=mask(bits)).map(move |v| (v, m)));
    pairs
        .filter(|(v, m)| v & m == 0)
        .map(|(v, m)| Tnum::new(v, m))
        .collect()
}

fn members(t: Tnum) -> Vec<u64> {
    // Enumerates the submasks of the mask.
    let mut out = Vec::new();
    let mut sub = t.mask;
    loop {
        out.push(t.value | sub);
        if sub == 0 {
            return out;
        }
        sub = (sub - 1) & t.mask;
    }
}

fn best(values: impl Iterator<Item = u64>) -> Tnum {
    values.map(Tnum::constant).reduce(Tnum::union).unwrap()
}

fn pairwise(a: Tnum, b: Tnum, f: impl Fn(u64, u64) -> u64) -> Tnum {
    let b = members(b);
    best(
        members(a)
            .into_iter()
            .flat_map(|x| b.iter().map(move |&y| (x, y)))
            .map(|(x, y)| f(x, y)),
    )
}

#[test]
fn sums_differences_and_bit_operations_are_exact() {
    for at in [0, 30, 60] {
        for a in all(4).into_iter().map(|t| t << at) {
            for b in all(4).into_iter().map(|t| t << at) {
                assert_eq!(a + b, pairwise(a, b, u64::wrapping_add), "{a:?} + {b:?}");
                assert_eq!(a - b, pairwise(a, b, u64::wrapping_sub), "{a:?} - {b:?}");
                assert_eq!(a & b, pairwise(a, b, |x, y| x & y), "{a:?} & {b:?}");
                assert_eq!(a | b, pairwise(a, b, |x, y| x | y), "{a:?} | {b:?}");
                assert_eq!(a ^ b, pairwise(a, b, |x, y| x ^ y), "{a:?} ^ {b:?}");
            }
        }
    }
}

#[test]
fn products_hold_every_product() {
    for at in [0, 30, 60] {
        for a in all(4).into_iter().map(|t| t << at) {
            for b in all(4) {
                let exact = pairwise(a, b, u64::wrapping_mul);
                assert!(exact.is_subset_of(a * b), "{a:?} * {b:?}");
            }
        }
    }
}

#[test]
fn sets_are_ordered_joined_and_met_as_their_members_are() {
    for a in all(4) {
        for b in all(4) {
            let (in_a, in_b) = (members(a), members(b));
            let common: Vec<u64> = in_a.iter().copied().filter(|v| in_b.contains(v)).collect();
            assert_eq!(a.is_subset_of(b), in_a.iter().all(|v| in_b.contains(v)));
            assert_eq!(a.union(b), best(in_a.iter().chain(&in_b).copied()));
            assert_eq!(a.overlaps(b), !common.is_empty());
            if a.overlaps(b) {
                assert_eq!(a.meet(b), best(common.into_iter()));
            }
        }
    }
}

#[test]
fn ranges_share_leading_bits_and_neighbours_are_exact() {
    for a in 0..64 {
        for b in a..64 {
            assert!((a..=b).all(|v| Tnum::range(a, b).contains(v)));
            let unknown = Tnum::range(a, b).mask;
            assert!(unknown == 0 || unknown >> 1 < (a ^ b));
        }
    }
    assert_eq!(Tnum::range(0, u64::MAX), Tnum::UNKNOWN);
    for at in [0, 60] {
        for t in all(4).into_iter().map(|t| t << at) {
            for v in (0..16).flat_map(|v: u64| [v << at, (v << at) ^ 1]) {
                let above = members(t).into_iter().filter(|&m| m > v).min();
                assert_eq!(t.next_above(v), above.unwrap_or(t.greatest()));
            }
        }
    }
}

#[test]
fn shifts_casts_and_swaps_are_exact() {
    for t in all(5) {
        let each = |f: &dyn Fn(u64) -> u64| best(members(t).into_iter().map(f));
        for by in 0..5 {
            assert_eq!(t << by, each(&|v| v << by));
            assert_eq!(t >> by, each(&|v| v >> by));
            let arsh = |v: u64| (super::concrete::signed(v, 5) >> by) as u64 & 31;
            assert_eq!(t.arsh(by, 5), each(&arsh));
            assert_eq!(t.truncate(by), each(&|v| v & ((1 << by) - 1)));
        }
        assert_eq!(-t, each(&u64::wrapping_neg));
        assert_eq!(!t, each(&|v| !v));
        assert_eq!(t.swap_bytes(), each(&u64::swap_bytes));
        let high = (t << 59).with_low(32, t);
        assert_eq!(high.truncate(32), t);
        assert_eq!(high >> 59, t);
    }
}
