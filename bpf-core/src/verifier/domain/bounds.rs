//! Signed and unsigned range of numbers of one width.

use super::Tnum;

/// A set of `W`-bit numbers: those in `umin..=umax` that also lie in
/// `smin..=smax` when read as two's complement. `W` is 1 to 64.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Bounds<const W: u32> {
    /// Least value, unsigned.
    pub umin: u64,
    /// Greatest value, unsigned.
    pub umax: u64,
    /// Least value, signed.
    pub smin: i64,
    /// Greatest value, signed.
    pub smax: i64,
}

impl<const W: u32> Bounds<W> {
    /// The greatest unsigned number.
    pub const MAX: u64 = u64::MAX >> (64 - W);
    /// The sign bit.
    pub const SIGN: u64 = 1 << (W - 1);
    /// The greatest signed number.
    pub const SMAX: i64 = (Self::MAX >> 1) as i64;
    /// The least signed number.
    pub const SMIN: i64 = -Self::SMAX - 1;
    /// Every number.
    pub const UNKNOWN: Self = Self {
        umin: 0,
        umax: Self::MAX,
        smin: Self::SMIN,
        smax: Self::SMAX,
    };

    /// One number.
    pub const fn constant(v: u64) -> Self {
        let (u, s) = (v & Self::MAX, Self::signed(v));
        Self {
            umin: u,
            umax: u,
            smin: s,
            smax: s,
        }
    }

    /// The numbers `min..=max`, unsigned; nothing is deduced of the signs.
    pub const fn unsigned_range(min: u64, max: u64) -> Self {
        Self {
            umin: min,
            umax: max,
            ..Self::UNKNOWN
        }
    }

    /// The numbers `min..=max`, signed; nothing is deduced of the unsigned view.
    pub const fn signed_range(min: i64, max: i64) -> Self {
        Self {
            smin: min,
            smax: max,
            ..Self::UNKNOWN
        }
    }

    /// The numbers `min..=max`, unsigned, and signed where the sign bit stays.
    pub(super) const fn plain_range(min: u64, max: u64) -> Self {
        let (smin, smax) = (Self::signed(min), Self::signed(max));
        if smin <= smax {
            Self {
                umin: min,
                umax: max,
                smin,
                smax,
            }
        } else {
            Self::unsigned_range(min, max)
        }
    }

    /// The low `W` bits read as two's complement.
    pub const fn signed(v: u64) -> i64 {
        ((v << (64 - W)) as i64) >> (64 - W)
    }

    /// Whether the low `W` bits of `v` are a member.
    pub const fn contains(&self, v: u64) -> bool {
        let (u, s) = (v & Self::MAX, Self::signed(v));
        self.umin <= u && u <= self.umax && self.smin <= s && s <= self.smax
    }

    /// Whether both ranges lie within those of `outer`.
    pub const fn is_subset_of(&self, outer: &Self) -> bool {
        outer.umin <= self.umin
            && self.umax <= outer.umax
            && outer.smin <= self.smin
            && self.smax <= outer.smax
    }

    /// Whether no range is empty.
    pub(super) const fn is_sane(&self) -> bool {
        self.umin <= self.umax && self.smin <= self.smax
    }

    /// The members of both, as far as the ranges show.
    pub(super) fn meet(&self, other: &Self) -> Self {
        let mut both = *self;
        both.narrow_unsigned(other.umin, other.umax);
        both.narrow_signed(other.smin, other.smax);
        both
    }

    pub(super) fn narrow_unsigned(&mut self, min: u64, max: u64) {
        self.umin = self.umin.max(min);
        self.umax = self.umax.min(max);
    }

    pub(super) fn narrow_signed(&mut self, min: i64, max: i64) {
        self.smin = self.smin.max(min);
        self.smax = self.smax.min(max);
    }

    /// What known bits tell: unknown ones are least all clear, but for the sign.
    pub(super) fn learn_bits(&mut self, t: Tnum) {
        let most = t.value | t.mask;
        self.narrow_unsigned(t.value, most);
        let least = Self::signed(t.value | t.mask & Self::SIGN);
        self.narrow_signed(least, Self::signed(t.value | t.mask & !Self::SIGN));
    }

    /// Lets the views teach each other where one does not cross the boundary of
    /// the other. A signed range that does is in two parts at the ends of the
    /// unsigned one, of which one may be ruled out.
    pub(super) fn share(&mut self) {
        let (smin, smax) = (Self::signed(self.umin), Self::signed(self.umax));
        if smin <= smax {
            self.narrow_signed(smin, smax);
        }
        let (umin, umax) = (Self::bits(self.smin), Self::bits(self.smax));
        if umin <= umax {
            self.narrow_unsigned(umin, umax);
        } else if self.umax < umin {
            self.smin = Self::signed(self.umin);
            self.umax = self.umax.min(umax);
        } else if umax < self.umin {
            self.smax = Self::signed(self.umax);
            self.umin = self.umin.max(umin);
        }
    }

    /// The range of the number that these are the low half of, zeros above.
    pub(super) fn zero_extended<const V: u32>(&self) -> Bounds<V> {
        let signs = if self.smin >= 0 && self.smax >= 0 {
            (self.smin, self.smax)
        } else {
            (0, Self::MAX as i64)
        };
        Bounds {
            umin: self.umin,
            umax: self.umax,
            smin: signs.0,
            smax: signs.1,
        }
    }

    /// A signed number as its `W` bits.
    const fn bits(v: i64) -> u64 {
        v as u64 & Self::MAX
    }
}
