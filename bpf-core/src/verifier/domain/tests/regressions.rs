//! Shapes of mistakes that other verifiers made with ranges. In each, a value
//! was believed smaller or better known than it was.

use crate::verifier::domain::*;

fn refine(op: CmpOp, width: Width, a: Scalar, k: u64, taken: bool) -> Scalar {
    Scalar::refine_branch(op, width, &a, &Scalar::constant(k), taken).0
}

/// CVE-2020-8835: a 32-bit comparison must not bound the upper half.
#[test]
fn a_32_bit_comparison_leaves_the_upper_half_open() {
    let r = refine(CmpOp::Le, Width::W32, Scalar::UNKNOWN, 1, true);
    assert!(r.contains(0x1_0000_0000) && r.contains(0xffff_ffff_0000_0001));
    let r = refine(
        CmpOp::Eq,
        Width::W32,
        Scalar::from_urange(1, 0x1_0000_0001),
        1,
        true,
    );
    assert!(r.contains(1) && r.contains(0x1_0000_0001));
}

/// CVE-2021-3490: 32-bit bounds of and, or, xor with an unknown lower half.
#[test]
fn bit_operations_do_not_invent_32_bit_bounds() {
    let a = Scalar::from_tnum(Tnum::new(1, 0xffff_ffff_0000_0000));
    let b = Scalar::from_tnum(Tnum::new(0, 0xffff_ffff_0000_0002));
    for (op, want) in [(AluOp::And, 0), (AluOp::Or, 3), (AluOp::Xor, 3)] {
        let r = Scalar::alu(op, Width::W64, &a, &b);
        assert!(r.contains(want), "{op:?} {r}");
    }
}

/// CVE-2021-31440: 32-bit signed bounds taken from 64-bit ones that don't fit.
#[test]
fn wide_bounds_do_not_bound_the_low_half_across_a_wrap() {
    let r = refine(CmpOp::Sgt, Width::W64, Scalar::UNKNOWN, 0, true);
    assert!(r.contains(0x8000_0000) && r.contains(0xffff_ffff));
    assert_eq!((r.s32_min(), r.s32_max()), (i32::MIN, i32::MAX));
    assert_eq!((r.u32_min(), r.u32_max()), (0, u32::MAX));
}

/// CVE-2017-16995: a 32-bit move of -1 is not -1.
#[test]
fn a_32_bit_move_zero_extends() {
    let r = Scalar::alu(
        AluOp::Mov,
        Width::W32,
        &Scalar::UNKNOWN,
        &Scalar::constant(u64::MAX),
    );
    assert_eq!(r.as_const(), Some(0xffff_ffff));
    assert_eq!(
        Scalar::branch_outcome(CmpOp::Ne, Width::W64, &r, &Scalar::constant(u64::MAX)),
        Some(true)
    );
}

/// CVE-2017-16996 and -17852: results of 32-bit operations are truncated, also
/// where the 64-bit ranges had no reason to be.
#[test]
fn a_32_bit_sum_wraps_at_32_bits() {
    let a = Scalar::from_urange(0xffff_ffff, 0x1_0000_0005);
    let r = Scalar::alu(AluOp::Add, Width::W32, &a, &Scalar::constant(1));
    assert!(r.contains(0) && r.contains(6) && r.umax() <= u32::MAX as u64);
    let r = Scalar::alu(
        AluOp::Rsh,
        Width::W32,
        &Scalar::UNKNOWN,
        &Scalar::constant(31),
    );
    assert_eq!((r.umin(), r.umax()), (0, 1));
}

/// CVE-2018-18445: a 32-bit right shift looks at the low half alone.
#[test]
fn a_32_bit_shift_ignores_the_upper_half() {
    let a = Scalar::from_tnum(Tnum::new(2 << 32, 0));
    let r = Scalar::alu(AluOp::Rsh, Width::W32, &a, &Scalar::constant(31));
    assert_eq!(r.as_const(), Some(0));
    let r = Scalar::alu(
        AluOp::Arsh,
        Width::W32,
        &Scalar::constant(0x8000_0000),
        &Scalar::constant(31),
    );
    assert_eq!(r.as_const(), Some(0xffff_ffff));
}

/// CVE-2020-27194: or of 64-bit values and the sign of the low half.
#[test]
fn an_or_keeps_the_low_half_open() {
    let a = refine(CmpOp::Le, Width::W64, Scalar::UNKNOWN, 0x5_0000_0000, true);
    let a = refine(CmpOp::Gt, Width::W64, a, 0, true);
    let r = Scalar::alu(AluOp::Or, Width::W64, &a, &Scalar::constant(0));
    assert!(r.contains(0x8000_0000) && r.contains(0x5_0000_0000));
}

/// CVE-2021-4159 and -2021-45402: products and 32-bit moves near the wrap.
#[test]
fn products_wrap() {
    let a = Scalar::from_urange(0, 1 << 32);
    let r = Scalar::alu(AluOp::Mul, Width::W64, &a, &a);
    assert!(r.contains(0) && r.contains((1u64 << 32).wrapping_mul((1 << 32) - 1)));
    let r = Scalar::from_srange(-1, 0).truncate32();
    assert!(r.contains(0xffff_ffff) && r.contains(0) && r.smin() == 0);
}

/// CVE-2023-2163 rested on pruning with a value that was not the same; here: a
/// set that only shares its ranges is no subset.
#[test]
fn known_bits_count_in_the_order() {
    let even = Scalar::from_tnum(Tnum::new(0, 6));
    let upto = Scalar::from_urange(0, 6);
    assert!(even.is_subset_of(&upto) && !upto.is_subset_of(&even));
}

/// Shifts by the width or more, and by amounts that may be so.
#[test]
fn great_shifts_are_taken_modulo_the_width() {
    let one = Scalar::constant(1);
    let r = Scalar::alu(AluOp::Lsh, Width::W64, &one, &Scalar::constant(64));
    assert!(r.contains(1));
    let r = Scalar::alu(AluOp::Lsh, Width::W32, &one, &Scalar::from_urange(31, 32));
    assert!(r.contains(1) && r.contains(0x8000_0000));
    let r = Scalar::alu(AluOp::Lsh, Width::W64, &one, &Scalar::UNKNOWN);
    assert!((0..64).all(|k| r.contains(1 << k)));
}

/// Comparisons at the ends of the ranges can't be true.
#[test]
fn nothing_is_below_the_least_number() {
    let (zero, any) = (Scalar::constant(0), Scalar::UNKNOWN);
    let least = Scalar::constant(1 << 63);
    let most = Scalar::constant(u32::MAX as u64);
    for (op, width, than, is) in [
        (CmpOp::Lt, Width::W64, zero, false),
        (CmpOp::Slt, Width::W64, least, false),
        (CmpOp::Gt, Width::W32, most, false),
        (CmpOp::Ge, Width::W64, zero, true),
    ] {
        assert_eq!(Scalar::branch_outcome(op, width, &any, &than), Some(is));
    }
}
