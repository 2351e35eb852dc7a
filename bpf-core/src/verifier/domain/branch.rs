//! What a comparison teaches.
//!
//! Every comparison, true or false, comes down to one of six relations between
//! the two sides, in one or the other order.

use super::{Bounds, CmpOp, Num, Tnum, Width};

/// What is known to hold between two numbers.
#[derive(Clone, Copy)]
enum Relation {
    Equal,
    NotEqual,
    /// A common bit is set.
    Meet,
    /// No common bit is set.
    Disjoint,
    /// The first is less than the second.
    Less(Order),
    /// The first is not greater than the second.
    NotGreater(Order),
}

#[derive(Clone, Copy)]
enum Order {
    Unsigned,
    Signed,
}

impl Relation {
    /// What `a op b` being `taken` means, and whether the sides are to be
    /// swapped first.
    fn of(op: CmpOp, taken: bool) -> (Self, bool) {
        use Order::{Signed, Unsigned};
        use Relation::*;
        match (op, taken) {
            (CmpOp::Eq, true) | (CmpOp::Ne, false) => (Equal, false),
            (CmpOp::Ne, true) | (CmpOp::Eq, false) => (NotEqual, false),
            (CmpOp::Set, true) => (Meet, false),
            (CmpOp::Set, false) => (Disjoint, false),
            (CmpOp::Lt, true) | (CmpOp::Ge, false) => (Less(Unsigned), false),
            (CmpOp::Le, true) | (CmpOp::Gt, false) => (NotGreater(Unsigned), false),
            (CmpOp::Gt, true) | (CmpOp::Le, false) => (Less(Unsigned), true),
            (CmpOp::Ge, true) | (CmpOp::Lt, false) => (NotGreater(Unsigned), true),
            (CmpOp::Slt, true) | (CmpOp::Sge, false) => (Less(Signed), false),
            (CmpOp::Sle, true) | (CmpOp::Sgt, false) => (NotGreater(Signed), false),
            (CmpOp::Sgt, true) | (CmpOp::Sle, false) => (Less(Signed), true),
            (CmpOp::Sge, true) | (CmpOp::Slt, false) => (NotGreater(Signed), true),
        }
    }
}

impl<const W: u32, const H: u32> Num<W, H> {
    /// Whether `a op b` is certainly true or certainly false.
    pub fn branch_outcome(op: CmpOp, width: Width, a: &Self, b: &Self) -> Option<bool> {
        if Self::refine_branch(op, width, a, b, true).is_none() {
            return Some(false);
        }
        match Self::refine_branch(op, width, a, b, false) {
            None => Some(true),
            Some(_) => None,
        }
    }

    /// What `a` and `b` can be where `a op b` came out as `taken`; `None` where
    /// that can't be.
    pub fn refine_branch(
        op: CmpOp,
        width: Width,
        a: &Self,
        b: &Self,
        taken: bool,
    ) -> Option<(Self, Self)> {
        let (relation, swap) = Relation::of(op, taken);
        let (first, second) = if swap { (b, a) } else { (a, b) };
        let (first, second) = match width {
            Width::W64 => Self::relate64(relation, first, second)?,
            Width::W32 => Self::relate32(relation, first, second)?,
        };
        Some(if swap {
            (second, first)
        } else {
            (first, second)
        })
    }

    /// For a number that is all ones or all zeros, as an arithmetic shift by the
    /// width less one leaves it: the two cases, ones first. Where only the low
    /// half is like that, the upper half stays as it is.
    ///
    /// Compilers write `x < 0 ? a : b` with such a mask and an `and` or `or`;
    /// following both cases keeps the outcomes apart, as newer kernels do.
    pub fn split_mask(&self) -> Option<(Self, Self)> {
        let width = match (self.wide.smin, self.wide.smax, self.low.smin, self.low.smax) {
            (-1, 0, _, _) => Width::W64,
            (_, _, -1, 0) => Width::W32,
            _ => return None,
        };
        let case = |v| Self::refine_branch(CmpOp::Eq, width, self, &Self::constant(v), true);
        Some((case(u64::MAX)?.0, case(0)?.0))
    }

    fn relate64(relation: Relation, a: &Self, b: &Self) -> Option<(Self, Self)> {
        let (tnum_a, tnum_b) = relate_bits(relation, a.tnum, b.tnum)?;
        let (wide_a, wide_b) = a.wide.relate(relation, &b.wide)?;
        if let Relation::Equal = relation {
            let both = Self::settle(tnum_a, wide_a, a.low.intersect(&b.low)?)?;
            return Some((both, both));
        }
        Some((
            Self::settle(tnum_a, wide_a, a.low)?,
            Self::settle(tnum_b, wide_b, b.low)?,
        ))
    }

    fn relate32(relation: Relation, a: &Self, b: &Self) -> Option<(Self, Self)> {
        let (tnum_a, tnum_b) = relate_bits(relation, a.tnum.truncate(H), b.tnum.truncate(H))?;
        let (low_a, low_b) = a.low.relate(relation, &b.low)?;
        Some((
            Self::settle(a.tnum.with_low(H, tnum_a), a.wide, low_a)?,
            Self::settle(b.tnum.with_low(H, tnum_b), b.wide, low_b)?,
        ))
    }
}

fn relate_bits(relation: Relation, a: Tnum, b: Tnum) -> Option<(Tnum, Tnum)> {
    match relation {
        Relation::Equal => a.intersect(b).map(|both| (both, both)),
        Relation::Meet => {
            let common = (a.value | a.mask) & (b.value | b.mask);
            match common.count_ones() {
                0 => None,
                1 => Some((with_ones(a, common), with_ones(b, common))),
                _ => Some((a, b)),
            }
        }
        Relation::Disjoint if a.value & b.value != 0 => None,
        Relation::Disjoint => Some((
            Tnum::new(a.value, a.mask & !b.value),
            Tnum::new(b.value, b.mask & !a.value),
        )),
        _ => Some((a, b)),
    }
}

fn with_ones(t: Tnum, ones: u64) -> Tnum {
    Tnum::new(t.value | ones, t.mask & !ones)
}

impl<const W: u32> Bounds<W> {
    fn relate(&self, relation: Relation, other: &Self) -> Option<(Self, Self)> {
        match relation {
            Relation::Equal => self.intersect(other).map(|both| (both, both)),
            Relation::NotEqual => Some((self.without(other)?, other.without(self)?)),
            Relation::Meet | Relation::Disjoint => Some((*self, *other)),
            Relation::Less(order) => self.below(other, order, 1),
            Relation::NotGreater(order) => self.below(other, order, 0),
        }
    }

    /// Where `other` is one number: cuts it off the ends of the ranges.
    fn without(&self, other: &Self) -> Option<Self> {
        let Some(v) = other.as_const() else {
            return Some(*self);
        };
        let (mut out, s) = (*self, Self::signed(v));
        if self.umin == self.umax && self.umin == v {
            return None;
        }
        out.umin += u64::from(self.umin == v);
        out.umax -= u64::from(self.umax == v);
        if self.smin == self.smax && self.smin == s {
            return None;
        }
        out.smin += i64::from(self.smin == s);
        out.smax -= i64::from(self.smax == s);
        Some(out)
    }

    /// `self + gap <= other`.
    fn below(&self, other: &Self, order: Order, gap: u64) -> Option<(Self, Self)> {
        let (mut a, mut b) = (*self, *other);
        match order {
            Order::Unsigned => {
                a.umax = a.umax.min(b.umax.checked_sub(gap)?);
                b.umin = b.umin.max(a.umin.checked_add(gap)?);
            }
            Order::Signed => {
                a.smax = a.smax.min(b.smax.checked_sub_unsigned(gap)?);
                b.smin = b.smin.max(a.smin.checked_add_unsigned(gap)?);
            }
        }
        Some((a.intersect(self)?, b.intersect(other)?))
    }
}
