//! What a comparison teaches (`is_scalar_branch_taken`, `regs_refine_cond_op`).
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
        let (relation, swap) = Relation::of(op, true);
        let (a, b) = if swap { (b, a) } else { (a, b) };
        let (bits_a, bits_b) = (a.bits(width), b.bits(width));
        match relation {
            Relation::Equal => Self::equal(width, a, b),
            Relation::NotEqual => Self::equal(width, a, b).map(|e| !e),
            Relation::Meet | Relation::Disjoint => common_bit(bits_a, bits_b),
            Relation::Less(order) => a.ordered(width, b, |x, y| x.less(y, order)),
            Relation::NotGreater(order) => a.ordered(width, b, |x, y| y.less(x, order).map(|l| !l)),
        }
    }

    fn ordered(
        &self,
        width: Width,
        other: &Self,
        f: impl Fn(&Bounds<64>, &Bounds<64>) -> Option<bool>,
    ) -> Option<bool> {
        match width {
            Width::W64 => f(&self.wide.plain(), &other.wide.plain()),
            Width::W32 => f(&self.low.plain(), &other.low.plain()),
        }
    }

    fn equal(width: Width, a: &Self, b: &Self) -> Option<bool> {
        let (bits_a, bits_b) = (a.bits(width), b.bits(width));
        if bits_a.is_const() && bits_b.is_const() {
            return Some(bits_a.value == bits_b.value);
        }
        let apart = !bits_a.overlaps(bits_b)
            || a.low.apart(&b.low)
            || width == Width::W64 && a.wide.apart(&b.wide);
        apart.then_some(false)
    }

    /// The known bits of what an operation of this width looks at.
    fn bits(&self, width: Width) -> Tnum {
        match width {
            Width::W64 => self.tnum,
            Width::W32 => self.tnum.truncate(H),
        }
    }

    /// What `a` and `b` can be where `a op b` came out as `taken`. Not to be
    /// asked where [`Num::branch_outcome`] says that it can't.
    pub fn refine_branch(op: CmpOp, width: Width, a: &Self, b: &Self, taken: bool) -> (Self, Self) {
        let (relation, swap) = Relation::of(op, taken);
        let (first, second) = if swap { (b, a) } else { (a, b) };
        let (mut first, mut second) = (*first, *second);
        match relation {
            Relation::Equal => Self::unite(width, &mut first, &mut second),
            Relation::NotEqual => Self::cut_edges(width, &mut first, &mut second),
            Relation::Meet => Self::set_bit(width, &mut first, &mut second),
            Relation::Disjoint => Self::clear_bits(width, &mut first, &mut second),
            Relation::Less(order) => Self::order(width, order, 1, &mut first, &mut second),
            Relation::NotGreater(order) => Self::order(width, order, 0, &mut first, &mut second),
        }
        let (first, second) = (first.synced().sane(), second.synced().sane());
        if swap {
            (second, first)
        } else {
            (first, second)
        }
    }

    /// For a number that is all ones or all zeros, as an arithmetic shift by the
    /// width less one leaves it: the two cases, ones first. Where only the low
    /// half is like that, the upper half stays as it is.
    ///
    /// Compilers write `x < 0 ? a : b` with such a mask and an `and` or `or`;
    /// following both cases keeps the outcomes apart, as newer kernels do.
    pub fn split_mask(&self) -> Option<(Self, Self)> {
        let low = |v: u64| Self {
            tnum: self.tnum.with_low(H, Tnum::constant(v)),
            wide: self.wide,
            low: Bounds::constant(v),
        };
        match (self.wide.smin, self.wide.smax, self.low.smin, self.low.smax) {
            (-1, 0, _, _) => Some((Self::constant(u64::MAX), Self::constant(0))),
            (_, _, -1, 0) => Some((low(u64::MAX), low(0))),
            _ => None,
        }
    }

    fn unite(width: Width, a: &mut Self, b: &mut Self) {
        match width {
            Width::W64 => {
                let (wide, tnum) = (a.wide.meet(&b.wide), a.tnum.meet(b.tnum));
                (a.wide, b.wide) = (wide, wide);
                (a.tnum, b.tnum) = (tnum, tnum);
            }
            Width::W32 => {
                let low = a.low.meet(&b.low);
                (a.low, b.low) = (low, low);
                let half = a.tnum.truncate(H).meet(b.tnum.truncate(H));
                a.tnum = a.tnum.with_low(H, half);
                b.tnum = b.tnum.with_low(H, half);
            }
        }
    }

    /// A side and the constant that the other is.
    fn with_constant<'n>(
        width: Width,
        a: &'n mut Self,
        b: &'n mut Self,
    ) -> Option<(&'n mut Self, u64)> {
        let constant = |n: &Self| {
            let bits = n.bits(width);
            bits.is_const().then_some(bits.value)
        };
        match (constant(b), constant(a)) {
            (Some(v), _) => Some((a, v)),
            (None, Some(v)) => Some((b, v)),
            (None, None) => None,
        }
    }

    fn cut_edges(width: Width, a: &mut Self, b: &mut Self) {
        let Some((n, v)) = Self::with_constant(width, a, b) else {
            return;
        };
        match width {
            Width::W64 => n.wide.cut(v),
            Width::W32 => n.low.cut(v),
        }
    }

    fn set_bit(width: Width, a: &mut Self, b: &mut Self) {
        if let Some((n, v)) = Self::with_constant(width, a, b)
            && v.is_power_of_two()
        {
            n.tnum = n.tnum | Tnum::constant(v);
        }
    }

    /// The ranges are forgotten: on a path that is never taken they could
    /// contradict the bits.
    fn clear_bits(width: Width, a: &mut Self, b: &mut Self) {
        if let Some((n, v)) = Self::with_constant(width, a, b) {
            n.tnum = n.tnum & Tnum::constant(!v);
            (n.wide, n.low) = (Bounds::UNKNOWN, Bounds::UNKNOWN);
        }
    }

    /// `a + gap <= b`.
    fn order(width: Width, order: Order, gap: u64, a: &mut Self, b: &mut Self) {
        match width {
            Width::W64 => a.wide.below(&mut b.wide, order, gap),
            Width::W32 => a.low.below(&mut b.low, order, gap),
        }
    }
}

fn common_bit(a: Tnum, b: Tnum) -> Option<bool> {
    let (known, mask) = match (a.is_const(), b.is_const()) {
        (_, true) => (a, b.value),
        (true, _) => (b, a.value),
        _ => return None,
    };
    if known.value & mask != 0 {
        Some(true)
    } else if (known.value | known.mask) & mask == 0 {
        Some(false)
    } else {
        None
    }
}

impl<const W: u32> Bounds<W> {
    /// The same numbers, whatever the width.
    fn plain(&self) -> Bounds<64> {
        Bounds {
            umin: self.umin,
            umax: self.umax,
            smin: self.smin,
            smax: self.smax,
        }
    }

    fn apart(&self, other: &Self) -> bool {
        self.umin > other.umax
            || self.umax < other.umin
            || self.smin > other.smax
            || self.smax < other.smin
    }

    /// Whether `self < other`, if it is the same for all members.
    fn less(&self, other: &Self, order: Order) -> Option<bool> {
        let (always, never) = match order {
            Order::Unsigned => (self.umax < other.umin, self.umin >= other.umax),
            Order::Signed => (self.smax < other.smin, self.smin >= other.smax),
        };
        match (always, never) {
            (true, _) => Some(true),
            (_, true) => Some(false),
            _ => None,
        }
    }

    /// Without `v` where that is an end.
    fn cut(&mut self, v: u64) {
        let s = Self::signed(v);
        self.umin = self.umin.wrapping_add(u64::from(self.umin == v));
        self.umax = self.umax.wrapping_sub(u64::from(self.umax == v));
        self.smin = self.smin.wrapping_add(i64::from(self.smin == s));
        self.smax = self.smax.wrapping_sub(i64::from(self.smax == s));
    }

    /// `self + gap <= other`.
    fn below(&mut self, other: &mut Self, order: Order, gap: u64) {
        match order {
            Order::Unsigned => {
                self.umax = self.umax.min(other.umax.wrapping_sub(gap));
                other.umin = other.umin.max(self.umin.wrapping_add(gap));
            }
            Order::Signed => {
                self.smax = self.smax.min(other.smax.wrapping_sub(gap as i64));
                other.smin = other.smin.max(self.smin.wrapping_add(gap as i64));
            }
        }
    }
}
