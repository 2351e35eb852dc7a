//! Arithmetic on the ranges of one width.
//!
//! Where the exact results of a range form an interval of integers, it is
//! computed exactly (in `i128`) and then taken modulo 2^W by
//! [`Bounds::wrapped`], once for the unsigned and once for the signed operands.

use super::{AluOp, Bounds};

impl<const W: u32> Bounds<W> {
    /// `self op other` for all but moves and shifts. `None` only where an
    /// operand is empty.
    pub(super) fn arith(&self, op: AluOp, other: &Self) -> Option<Self> {
        match op {
            AluOp::Add => self.sum(other),
            AluOp::Sub => self.difference(other),
            AluOp::Mul => self.product(other),
            AluOp::Div => Some(self.quotient(other)),
            AluOp::Mod => Some(self.remainder(other)),
            AluOp::Sdiv => Some(self.signed_quotient(other)),
            AluOp::Smod => Some(self.signed_remainder(other)),
            AluOp::And => Some(self.and(other)),
            AluOp::Or => Some(self.complement().and(&other.complement()).complement()),
            _ => Some(Self::UNKNOWN),
        }
    }

    /// The unsigned range in exact integers.
    fn unsigned(&self) -> (i128, i128) {
        (self.umin as i128, self.umax as i128)
    }

    /// The signed range in exact integers.
    fn twos(&self) -> (i128, i128) {
        (self.smin as i128, self.smax as i128)
    }

    fn sum(&self, other: &Self) -> Option<Self> {
        let add = |a: (i128, i128), b: (i128, i128)| Self::wrapped(a.0 + b.0, a.1 + b.1);
        add(self.unsigned(), other.unsigned()).intersect(&add(self.twos(), other.twos()))
    }

    fn difference(&self, other: &Self) -> Option<Self> {
        let sub = |a: (i128, i128), b: (i128, i128)| Self::wrapped(a.0 - b.1, a.1 - b.0);
        sub(self.unsigned(), other.unsigned()).intersect(&sub(self.twos(), other.twos()))
    }

    fn product(&self, other: &Self) -> Option<Self> {
        let (a, b) = (self.unsigned(), other.unsigned());
        let unsigned = match a.1.checked_mul(b.1) {
            Some(hi) => Self::wrapped(a.0 * b.0, hi),
            None => Self::UNKNOWN,
        };
        let (a, b) = (self.twos(), other.twos());
        let (lo, hi) = hull([a.0 * b.0, a.0 * b.1, a.1 * b.0, a.1 * b.1]);
        unsigned.intersect(&Self::wrapped(lo, hi))
    }

    /// A zero divisor gives 0.
    fn quotient(&self, other: &Self) -> Self {
        let least = match other.umin {
            0 => 0,
            _ => self.umin / other.umax.max(1),
        };
        let greatest = match other.umax {
            0 => 0,
            _ => self.umax / other.umin.max(1),
        };
        Self::unsigned_range(least, greatest)
    }

    /// A zero divisor leaves the dividend.
    fn remainder(&self, other: &Self) -> Self {
        if self.umax < other.umin || other.umax == 0 {
            return *self;
        }
        if let (Some(d), true) = (other.as_const(), other.umin > 0)
            && self.umin / d == self.umax / d
        {
            return Self::unsigned_range(self.umin % d, self.umax % d);
        }
        let greatest = match other.umin {
            0 => self.umax,
            _ => self.umax.min(other.umax - 1),
        };
        Self::unsigned_range(0, greatest)
    }

    fn signed_quotient(&self, other: &Self) -> Self {
        let (lo, hi) = self.twos();
        let mut range: Option<(i128, i128)> = (other.contains(0)).then_some((0, 0));
        let negative = (other.smin, other.smax.min(-1));
        let positive = (other.smin.max(1), other.smax);
        for (first, last) in [negative, positive] {
            if first <= last {
                let (a, b) = (first as i128, last as i128);
                let (min, max) = hull([lo / a, lo / b, hi / a, hi / b]);
                let old = range.unwrap_or((min, max));
                range = Some((old.0.min(min), old.1.max(max)));
            }
        }
        match range {
            Some((lo, hi)) => Self::wrapped(lo, hi),
            None => Self::UNKNOWN,
        }
    }

    /// The result has the dividend's sign and is no further from 0; unless the
    /// divisor can be 0, it is also nearer to 0 than the divisor.
    fn signed_remainder(&self, other: &Self) -> Self {
        let divisor = other.smin.unsigned_abs().max(other.smax.unsigned_abs()) as i128;
        let (lo, hi) = self.twos();
        if divisor == 0 {
            return *self;
        }
        if other.smin == other.smax && lo / divisor == hi / divisor && (lo >= 0 || hi < 0) {
            return Self::wrapped(lo % divisor, hi % divisor);
        }
        let limit = match other.contains(0) {
            true => i128::MAX,
            false => divisor - 1,
        };
        Self::wrapped(lo.min(0).max(-limit), hi.max(0).min(limit))
    }

    /// Not above either operand; negative only where both are, and then no bit
    /// above the leading ones that the two least operands share is lost.
    fn and(&self, other: &Self) -> Self {
        let least = self.smin.min(other.smin);
        let smin = match self.smin < 0 && other.smin < 0 {
            true => i64::MIN >> (least.leading_ones() - 1),
            false => 0,
        };
        let smax = match (self.smin >= 0, other.smin >= 0) {
            (true, true) => self.smax.min(other.smax),
            (true, false) => self.smax,
            (false, true) => other.smax,
            (false, false) => self.smax.max(other.smax),
        };
        Self {
            umin: 0,
            umax: self.umax.min(other.umax),
            smin,
            smax,
        }
    }

    /// Every bit inverted, which reverses both orders.
    fn complement(&self) -> Self {
        Self {
            umin: Self::MAX - self.umax,
            umax: Self::MAX - self.umin,
            smin: -1 - self.smax,
            smax: -1 - self.smin,
        }
    }

    /// Shifted left by `by` < `W`.
    pub(super) fn lsh(&self, by: u32) -> Option<Self> {
        let shl = |(lo, hi): (i128, i128)| Self::wrapped(lo << by, hi << by);
        shl(self.unsigned()).intersect(&shl(self.twos()))
    }

    /// Shifted right by `by` < `W`, zeros moving in.
    pub(super) fn rsh(&self, by: u32) -> Self {
        Self::unsigned_range(self.umin >> by, self.umax >> by)
    }

    /// Shifted right by `by` < `W`, the sign moving in.
    pub(super) fn arsh(&self, by: u32) -> Self {
        Self::signed_range(self.smin >> by, self.smax >> by)
    }
}

fn hull(corners: [i128; 4]) -> (i128, i128) {
    let [first, rest @ ..] = corners;
    rest.iter()
        .fold((first, first), |(lo, hi), &v| (lo.min(v), hi.max(v)))
}
