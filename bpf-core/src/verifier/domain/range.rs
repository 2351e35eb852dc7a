//! Arithmetic on the ranges of one width, as precise as Linux's
//! (`scalar_min_max_*`). A view that may wrap around learns nothing.

use super::{Bounds, Tnum};

impl<const W: u32> Bounds<W> {
    /// Sums. The unsigned view also survives where all sums wrap.
    pub(super) fn sum(&self, other: &Self) -> Self {
        let (umin, least) = self.plus(self.umin, other.umin);
        let (umax, greatest) = self.plus(self.umax, other.umax);
        let signs = (
            i128::from(self.smin) + i128::from(other.smin),
            i128::from(self.smax) + i128::from(other.smax),
        );
        Self::views((least == greatest).then_some((umin, umax)), signs)
    }

    /// Differences, likewise.
    pub(super) fn difference(&self, other: &Self) -> Self {
        let (umin, least) = self.minus(self.umin, other.umax);
        let (umax, greatest) = self.minus(self.umax, other.umin);
        let signs = (
            i128::from(self.smin) - i128::from(other.smax),
            i128::from(self.smax) - i128::from(other.smin),
        );
        Self::views((least == greatest).then_some((umin, umax)), signs)
    }

    /// A sum that is a pointer's offset: nothing may wrap.
    pub(super) fn offset_sum(&self, other: &Self) -> Self {
        let wraps = self.plus(self.umax, other.umax).1;
        let mut sum = self.sum(other);
        if wraps {
            (sum.umin, sum.umax) = (0, Self::MAX);
        }
        sum
    }

    /// A difference that is a pointer's offset.
    pub(super) fn offset_difference(&self, other: &Self) -> Self {
        let mut difference = self.difference(other);
        if self.umin < other.umax {
            (difference.umin, difference.umax) = (0, Self::MAX);
        }
        difference
    }

    pub(super) fn product(&self, other: &Self) -> Self {
        let fits = |v: u128| v <= u128::from(Self::MAX);
        let unsigned = (
            u128::from(self.umin) * u128::from(other.umin),
            u128::from(self.umax) * u128::from(other.umax),
        );
        let unsigned = (fits(unsigned.0) && fits(unsigned.1))
            .then_some((unsigned.0 as u64, unsigned.1 as u64));
        let times = |a: i64, b: i64| i128::from(a) * i128::from(b);
        let corners = [
            times(self.smin, other.smin),
            times(self.smin, other.smax),
            times(self.smax, other.smin),
            times(self.smax, other.smax),
        ];
        let signs = corners
            .iter()
            .fold((corners[0], corners[0]), |(lo, hi), &v| {
                (lo.min(v), hi.max(v))
            });
        Self::views(unsigned, signs)
    }

    /// `bits` are the known bits of the result, here and below.
    pub(super) fn and(&self, other: &Self, bits: Tnum) -> Self {
        Self::plain_range(bits.value, self.umax.min(other.umax))
    }

    pub(super) fn or(&self, other: &Self, bits: Tnum) -> Self {
        Self::plain_range(self.umin.max(other.umin), bits.value | bits.mask)
    }

    pub(super) fn xor(bits: Tnum) -> Self {
        Self::plain_range(bits.value, bits.value | bits.mask)
    }

    /// Shifted left by any amount; the sign is left to the known bits.
    pub(super) fn lsh(&self, by: u32) -> Self {
        if by >= W || self.umax > 1 << (W - 1 - by) {
            return Self::UNKNOWN;
        }
        Self::unsigned_range(self.umin << by, self.umax << by)
    }

    /// Shifted right by `by` < `W`, zeros moving in.
    pub(super) fn rsh(&self, by: u32) -> Self {
        Self::unsigned_range(self.umin >> by, self.umax >> by)
    }

    /// Shifted right by `by` < `W`, the sign moving in.
    pub(super) fn arsh(&self, by: u32) -> Self {
        Self::signed_range(self.smin >> by, self.smax >> by)
    }

    fn views(unsigned: Option<(u64, u64)>, signs: (i128, i128)) -> Self {
        let mut out = Self::UNKNOWN;
        if let Some((min, max)) = unsigned {
            (out.umin, out.umax) = (min, max);
        }
        let fits = |v: i128| i128::from(Self::SMIN) <= v && v <= i128::from(Self::SMAX);
        if fits(signs.0) && fits(signs.1) {
            (out.smin, out.smax) = (signs.0 as i64, signs.1 as i64);
        }
        out
    }

    /// The sum, and whether it wrapped.
    fn plus(&self, a: u64, b: u64) -> (u64, bool) {
        let sum = u128::from(a) + u128::from(b);
        (sum as u64 & Self::MAX, sum > u128::from(Self::MAX))
    }

    /// The difference, and whether it wrapped.
    fn minus(&self, a: u64, b: u64) -> (u64, bool) {
        (a.wrapping_sub(b) & Self::MAX, a < b)
    }
}
