//! What must be known, not only what may be: facts that programs accepted by
//! the kernel rely on.

use crate::verifier::domain::*;

fn refine(op: CmpOp, width: Width, a: Scalar, k: u64, taken: bool) -> Scalar {
    Scalar::refine_branch(op, width, &a, &Scalar::constant(k), taken).0
}

fn alu(op: AluOp, width: Width, a: Scalar, b: u64) -> Scalar {
    Scalar::alu(op, width, &a, &Scalar::constant(b))
}

#[test]
fn masks_bound_and_sums_shift_the_bounds() {
    let index = alu(AluOp::And, Width::W64, Scalar::UNKNOWN, 0x3f);
    assert_eq!((index.umin(), index.umax()), (0, 63));
    let offset = alu(AluOp::Lsh, Width::W64, index, 3);
    assert_eq!(
        (offset.smin(), offset.smax(), offset.tnum().mask),
        (0, 504, 0x1f8)
    );
    let moved = alu(AluOp::Sub, Width::W64, offset, 8);
    assert_eq!((moved.smin(), moved.smax()), (-8, 496));
    assert!(moved.tnum().contains(-8i64 as u64) && !moved.contains(4));
}

#[test]
fn a_sign_extending_shift_pair_keeps_the_range() {
    let ranged = refine(CmpOp::Slt, Width::W32, Scalar::UNKNOWN, 10, true);
    let ranged = refine(CmpOp::Sgt, Width::W32, ranged, -3i64 as u64, true);
    let up = alu(AluOp::Lsh, Width::W64, ranged, 32);
    let back = alu(AluOp::Arsh, Width::W64, up, 32);
    assert_eq!((back.smin(), back.smax()), (-2, 9));
}

#[test]
fn edges_are_cut_off_by_inequality() {
    let r = refine(CmpOp::Ne, Width::W64, Scalar::from_urange(0, 8), 0, true);
    let r = refine(CmpOp::Eq, Width::W64, r, 8, false);
    assert_eq!((r.umin(), r.umax()), (1, 7));
}

#[test]
fn bit_tests_teach_bits() {
    let set = refine(CmpOp::Set, Width::W64, Scalar::UNKNOWN, 8, true);
    assert_eq!(set.tnum().value, 8);
    let clear = refine(CmpOp::Set, Width::W64, Scalar::UNKNOWN, !7, false);
    assert_eq!((clear.umin(), clear.umax()), (0, 7));
    let low = refine(CmpOp::Set, Width::W32, Scalar::UNKNOWN, 0xffff_fff0, false);
    assert_eq!((low.u32_max(), low.umax()), (15, 0xffff_ffff_0000_000f));
}

#[test]
fn halves_teach_the_whole_and_back() {
    let r = refine(CmpOp::Lt, Width::W64, Scalar::UNKNOWN, 1 << 32, true);
    let r = refine(CmpOp::Lt, Width::W32, r, 100, true);
    assert_eq!(r.umax(), 99);
    let r = Scalar::from_srange(-4, 20);
    assert_eq!((r.s32_min(), r.s32_max()), (-4, 20));
    let r = refine(CmpOp::Sge, Width::W32, r, 0, true);
    assert_eq!((r.smin(), r.smax()), (0, 20));
    let r = refine(
        CmpOp::Sgt,
        Width::W64,
        Scalar::from_urange(5, u64::MAX),
        0,
        true,
    );
    assert_eq!((r.umin(), r.umax()), (5, i64::MAX as u64));
}

#[test]
fn values_that_cannot_meet_decide_the_branch() {
    let odd = alu(AluOp::Or, Width::W64, Scalar::UNKNOWN, 1);
    let even = alu(AluOp::And, Width::W64, Scalar::UNKNOWN, !1);
    assert_eq!(
        Scalar::branch_outcome(CmpOp::Eq, Width::W64, &odd, &even),
        Some(false)
    );
    assert_eq!(
        Scalar::branch_outcome(CmpOp::Ne, Width::W32, &odd, &even),
        Some(true)
    );
    let (low, high) = (Scalar::from_urange(0, 9), Scalar::from_urange(10, 20));
    assert_eq!(
        Scalar::branch_outcome(CmpOp::Lt, Width::W64, &low, &high),
        Some(true)
    );
    assert_eq!(
        Scalar::branch_outcome(CmpOp::Sge, Width::W32, &low, &high),
        Some(false)
    );
    assert_eq!(
        Scalar::branch_outcome(CmpOp::Gt, Width::W64, &high, &low),
        Some(true)
    );
    assert_eq!(
        Scalar::branch_outcome(CmpOp::Le, Width::W64, &low, &low),
        None
    );
}

/// As in Linux: what is unknown there must not be relied upon here.
#[test]
fn of_quotients_and_swaps_nothing_is_known() {
    let x = Scalar::from_urange(100, 1000);
    assert!(alu(AluOp::Div, Width::W64, x, 10).is_unknown());
    assert!(alu(AluOp::Smod, Width::W32, x, 10).is_unknown());
    assert!(Scalar::alu(AluOp::Lsh, Width::W64, &x, &x).is_unknown());
}

#[test]
fn a_mask_splits_into_ones_and_zeros() {
    let mask = alu(AluOp::Arsh, Width::W64, Scalar::UNKNOWN, 63);
    let constants = |(ones, zeros): (Scalar, Scalar)| (ones.as_const(), zeros.as_const());
    assert_eq!(
        mask.split_mask().map(constants),
        Some((Some(u64::MAX), Some(0)))
    );
    let low = alu(AluOp::Arsh, Width::W32, Scalar::UNKNOWN, 31);
    assert_eq!(
        low.split_mask().map(constants),
        Some((Some(0xffff_ffff), Some(0)))
    );
    assert_eq!(Scalar::from_srange(-1, 1).split_mask(), None);
    assert_eq!(Scalar::constant(0).split_mask(), None);
}
