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

    /// The integers `lo..=hi` modulo 2^W. A view that they wrap around in learns
    /// nothing.
    pub const fn wrapped(lo: i128, hi: i128) -> Self {
        let mut out = Self::UNKNOWN;
        if lo >> W == hi >> W {
            out.umin = lo as u64 & Self::MAX;
            out.umax = hi as u64 & Self::MAX;
        }
        // The signed view wraps half-way between.
        if ((lo >> (W - 1)) + 1) >> 1 == ((hi >> (W - 1)) + 1) >> 1 {
            out.smin = Self::signed(lo as u64);
            out.smax = Self::signed(hi as u64);
        }
        out
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

    /// The hull of both sets.
    pub fn union(&self, other: &Self) -> Self {
        Self {
            umin: self.umin.min(other.umin),
            umax: self.umax.max(other.umax),
            smin: self.smin.min(other.smin),
            smax: self.smax.max(other.smax),
        }
    }

    /// The members of both, or `None` where a range is empty.
    pub fn intersect(&self, other: &Self) -> Option<Self> {
        let both = Self {
            umin: self.umin.max(other.umin),
            umax: self.umax.min(other.umax),
            smin: self.smin.max(other.smin),
            smax: self.smax.min(other.smax),
        };
        (both.umin <= both.umax && both.smin <= both.smax).then_some(both)
    }

    /// The only member, if the ranges show that there is just one.
    pub const fn as_const(&self) -> Option<u64> {
        if self.umin == self.umax {
            Some(self.umin)
        } else {
            None
        }
    }

    /// Lets the signed and the unsigned range teach each other. The best that
    /// can be: either side of the sign boundary is looked at on its own.
    pub fn cross(&self) -> Option<Self> {
        let part = |lo: u64, hi: u64| {
            let (lo, hi) = (lo.max(self.umin), hi.min(self.umax));
            (lo <= hi).then_some((lo, hi))
        };
        let plus = (self.smax >= 0)
            .then(|| part(self.smin.max(0) as u64, self.smax as u64))
            .flatten();
        let minus = (self.smin < 0)
            .then(|| part(Self::bits(self.smin), Self::bits(self.smax.min(-1))))
            .flatten();
        let (u, s) = match (plus, minus) {
            (None, None) => return None,
            (Some(p), None) => (p, p),
            (None, Some(m)) => (m, m),
            (Some(p), Some(m)) => ((p.0, m.1), (m.0, p.1)),
        };
        Some(Self {
            umin: u.0,
            umax: u.1,
            smin: Self::signed(s.0),
            smax: Self::signed(s.1),
        })
    }

    /// Moves the ends inwards to numbers that agree with the known bits.
    pub fn agree_with(&self, tnum: Tnum) -> Option<Self> {
        self.both_views(|flip, lo, hi| {
            let tnum = tnum ^ Tnum::constant(flip);
            Some((tnum.at_least(lo)?, tnum.at_most(hi)?))
        })
    }

    /// Moves the ends inwards to numbers whose low half is a member of `low`.
    pub fn agree_with_low<const H: u32>(&self, low: &Bounds<H>) -> Option<Self> {
        // Either range of the low half is an arc on the circle of its values:
        // where it starts, and how far it reaches.
        let arcs = [
            (low.umin, low.umax.wrapping_sub(low.umin)),
            (low.smin as u64, low.smax.wrapping_sub(low.smin) as u64),
        ];
        let past = |v: u64, start: u64| v.wrapping_sub(start) & Bounds::<H>::MAX;
        self.both_views(|_, mut lo, mut hi| {
            for (start, reach) in arcs {
                let (above, below) = (past(lo, start), past(hi, start));
                if above > reach {
                    lo = lo.checked_add(Bounds::<H>::MAX - above + 1)?;
                }
                if below > reach {
                    hi = hi.checked_sub(below - reach)?;
                }
            }
            Some((lo, hi))
        })
    }

    /// Applies a deduction to both ranges. The signed one is shown as unsigned
    /// numbers in the same order, which they are with the sign bit flipped; the
    /// first argument is the bit that was flipped.
    fn both_views(&self, f: impl Fn(u64, u64, u64) -> Option<(u64, u64)>) -> Option<Self> {
        let flip = |v: i64| Self::bits(v) ^ Self::SIGN;
        let (umin, umax) = f(0, self.umin, self.umax)?;
        let (smin, smax) = f(Self::SIGN, flip(self.smin), flip(self.smax))?;
        (umin <= umax && smin <= smax).then_some(Self {
            umin,
            umax,
            smin: Self::signed(smin ^ Self::SIGN),
            smax: Self::signed(smax ^ Self::SIGN),
        })
    }

    /// A signed number as its `W` bits.
    const fn bits(v: i64) -> u64 {
        v as u64 & Self::MAX
    }
}
