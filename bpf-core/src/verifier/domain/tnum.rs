//! Known bits of a number.

/// A set of 64-bit numbers, of which some bits are known: where a bit of `mask`
/// is set, the bit is unknown, elsewhere it is that of `value`. The two never
/// have a bit in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Tnum {
    /// The known bits.
    pub value: u64,
    /// The unknown bits.
    pub mask: u64,
}

impl Tnum {
    /// Nothing is known.
    pub const UNKNOWN: Self = Self {
        value: 0,
        mask: u64::MAX,
    };

    /// Everything is known.
    pub const fn constant(value: u64) -> Self {
        Self { value, mask: 0 }
    }

    /// Whether `v` agrees with the known bits.
    pub const fn contains(self, v: u64) -> bool {
        v & !self.mask == self.value
    }
}
