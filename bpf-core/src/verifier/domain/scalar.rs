//! What is known of a register that holds a number.

use super::{Bounds, Tnum};

/// A 64-bit register.
pub type Scalar = Num<64, 32>;

/// A set of `W`-bit numbers: those that agree with the known bits, lie in the
/// ranges of the whole (`wide`), and whose low `H` bits lie in the ranges of the
/// low half (`low`). `H` is half of `W`.
///
/// Of a set that may be empty (what is known at a place that is never reached)
/// nothing is claimed: the ranges are then unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Num<const W: u32, const H: u32> {
    pub(super) tnum: Tnum,
    pub(super) wide: Bounds<W>,
    pub(super) low: Bounds<H>,
}

impl<const W: u32, const H: u32> Num<W, H> {
    /// Every number.
    pub const UNKNOWN: Self = Self {
        tnum: Tnum {
            value: 0,
            mask: Bounds::<W>::MAX,
        },
        wide: Bounds::UNKNOWN,
        low: Bounds::UNKNOWN,
    };

    /// One number.
    pub const fn constant(v: u64) -> Self {
        Self {
            tnum: Tnum::constant(v & Bounds::<W>::MAX),
            wide: Bounds::constant(v),
            low: Bounds::constant(v),
        }
    }

    /// The numbers `min..=max`, unsigned. [`Num::UNKNOWN`] where `min > max`.
    pub fn from_urange(min: u64, max: u64) -> Self {
        Self::from_bounds(Bounds::unsigned_range(min, max))
    }

    /// The numbers `min..=max`, signed. [`Num::UNKNOWN`] where `min > max`.
    pub fn from_srange(min: i64, max: i64) -> Self {
        Self::from_bounds(Bounds::signed_range(min, max))
    }

    fn from_bounds(wide: Bounds<W>) -> Self {
        Self {
            wide,
            ..Self::UNKNOWN
        }
        .synced()
        .sane()
    }

    /// The numbers with these known bits.
    pub fn from_tnum(tnum: Tnum) -> Self {
        Self {
            tnum: tnum.truncate(W),
            ..Self::UNKNOWN
        }
        .synced()
        .sane()
    }

    /// The only member, if there is just one.
    pub const fn as_const(&self) -> Option<u64> {
        if self.tnum.mask == 0 {
            Some(self.tnum.value)
        } else {
            None
        }
    }

    /// The low half, if all members agree on it.
    pub const fn as_const_low(&self) -> Option<u64> {
        let low = self.tnum.truncate(H);
        if low.is_const() {
            Some(low.value)
        } else {
            None
        }
    }

    /// Whether `v` is a member.
    pub const fn contains(&self, v: u64) -> bool {
        self.tnum.contains(v) && self.wide.contains(v) && self.low.contains(v)
    }

    /// Whether nothing is known.
    pub fn is_unknown(&self) -> bool {
        *self == Self::UNKNOWN
    }

    /// Whether each description of `self` lies within that of `outer`: the
    /// order by which states are pruned (`range_within` and `tnum_in`).
    pub fn is_subset_of(&self, outer: &Self) -> bool {
        self.tnum.is_subset_of(outer.tnum)
            && self.wide.is_subset_of(&outer.wide)
            && self.low.is_subset_of(&outer.low)
    }

    /// The known bits.
    pub const fn tnum(&self) -> Tnum {
        self.tnum
    }

    /// Least unsigned value.
    pub const fn umin(&self) -> u64 {
        self.wide.umin
    }

    /// Greatest unsigned value.
    pub const fn umax(&self) -> u64 {
        self.wide.umax
    }

    /// Least signed value.
    pub const fn smin(&self) -> i64 {
        self.wide.smin
    }

    /// Greatest signed value.
    pub const fn smax(&self) -> i64 {
        self.wide.smax
    }

    /// Least unsigned value of the low half.
    pub const fn u32_min(&self) -> u32 {
        self.low.umin as u32
    }

    /// Greatest unsigned value of the low half.
    pub const fn u32_max(&self) -> u32 {
        self.low.umax as u32
    }

    /// Least signed value of the low half.
    pub const fn s32_min(&self) -> i32 {
        self.low.smin as i32
    }

    /// Greatest signed value of the low half.
    pub const fn s32_max(&self) -> i32 {
        self.low.smax as i32
    }
}
