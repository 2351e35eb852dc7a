//! Known bits of a number.

use core::ops::{Add, BitAnd, BitOr, BitXor, Mul, Neg, Not, Shl, Shr, Sub};

/// A set of 64-bit numbers, of which some bits are known: where a bit of `mask`
/// is set, the bit is unknown, elsewhere it is that of `value`. The two never
/// have a bit in common.
///
/// The operators are the wrapping ones of 64-bit numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Tnum {
    /// The known bits.
    pub value: u64,
    /// The unknown bits.
    pub mask: u64,
}

/// A number with the low `n` bits set.
const fn ones(n: u32) -> u64 {
    if n >= 64 { u64::MAX } else { (1 << n) - 1 }
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

    /// Those bits of `value` are known that are not in `mask`.
    pub const fn new(value: u64, mask: u64) -> Self {
        Self {
            value: value & !mask,
            mask,
        }
    }

    /// The least set that holds `min..=max`: the common leading bits are known.
    pub const fn range(min: u64, max: u64) -> Self {
        Self::new(min, ones(64 - (min ^ max).leading_zeros()))
    }

    /// Whether there is only one member.
    pub const fn is_const(self) -> bool {
        self.mask == 0
    }

    /// Whether `v` agrees with the known bits.
    pub const fn contains(self, v: u64) -> bool {
        v & !self.mask == self.value
    }

    /// Whether every member is one of `outer`.
    pub const fn is_subset_of(self, outer: Self) -> bool {
        self.mask & !outer.mask == 0 && outer.contains(self.value)
    }

    /// The least set that holds the members of both.
    pub const fn union(self, other: Self) -> Self {
        Self::new(
            self.value,
            self.mask | other.mask | (self.value ^ other.value),
        )
    }

    /// Whether there may be common members: no known bit differs.
    pub const fn overlaps(self, other: Self) -> bool {
        (self.value ^ other.value) & !self.mask & !other.mask == 0
    }

    /// The members of both; where a known bit differs, it is set.
    pub const fn meet(self, other: Self) -> Self {
        Self::new(self.value | other.value, self.mask & other.mask)
    }

    /// The low `bits` bits, zero-extended.
    pub const fn truncate(self, bits: u32) -> Self {
        Self {
            value: self.value & ones(bits),
            mask: self.mask & ones(bits),
        }
    }

    /// The upper part of `self` above the low `bits` bits of `low`.
    pub const fn with_low(self, bits: u32, low: Self) -> Self {
        let (high, low) = (!ones(bits), low.truncate(bits));
        Self {
            value: self.value & high | low.value,
            mask: self.mask & high | low.mask,
        }
    }

    /// Arithmetic shift right of a `width`-bit number (the members have no bits
    /// above) by less than `width`.
    pub const fn arsh(self, by: u32, width: u32) -> Self {
        let spare = 64 - width;
        Self {
            value: (((self.value << spare) as i64 >> by) as u64) >> spare,
            mask: (((self.mask << spare) as i64 >> by) as u64) >> spare,
        }
    }

    /// The bytes in reverse order.
    pub const fn swap_bytes(self) -> Self {
        Self {
            value: self.value.swap_bytes(),
            mask: self.mask.swap_bytes(),
        }
    }

    /// The greatest member.
    pub const fn greatest(self) -> u64 {
        self.value | self.mask
    }

    /// The least member above `v`, or the greatest where there is none.
    pub const fn next_above(self, v: u64) -> u64 {
        if v >= self.greatest() {
            return self.greatest();
        }
        let from = v + 1;
        let wrong = (from ^ self.value) & !self.mask;
        if wrong == 0 {
            return from;
        }
        let top = 63 - wrong.leading_zeros();
        if self.value >> top & 1 == 1 {
            // Setting that bit makes the number greater: all below is least.
            return from & !ones(top) | self.value & ones(top + 1);
        }
        // That bit must be cleared: the next unknown zero above it is set.
        let next = (self.mask & !from & !ones(top)).trailing_zeros();
        from & !ones(next) | 1 << next | self.value & ones(next)
    }

    /// Long multiplication by the bits of `self`: a known one adds, an unknown
    /// bit may or may not.
    fn long_mul(mut self, mut other: Self) -> Self {
        let mut sum = Self::constant(0);
        while self.value | self.mask != 0 {
            if self.value & 1 == 1 {
                sum = sum + other;
            } else if self.mask & 1 == 1 {
                sum = sum.union(sum + other);
            }
            self = self >> 1;
            other = other << 1;
        }
        sum
    }
}

/// A carry into a bit is known where it is the same for the least and the
/// greatest members.
impl Add for Tnum {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        let least = self.value.wrapping_add(other.value);
        let greatest = least.wrapping_add(self.mask.wrapping_add(other.mask));
        Self::new(least, self.mask | other.mask | (least ^ greatest))
    }
}

/// As with sums, but the extremes are reached crosswise.
impl Sub for Tnum {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        let base = self.value.wrapping_sub(other.value);
        let greatest = base.wrapping_add(self.mask);
        let least = base.wrapping_sub(other.mask);
        Self::new(base, self.mask | other.mask | (least ^ greatest))
    }
}

impl Neg for Tnum {
    type Output = Self;
    fn neg(self) -> Self {
        Self::constant(0) - self
    }
}

/// Not the same in either order of factors.
impl Mul for Tnum {
    type Output = Self;
    fn mul(self, other: Self) -> Self {
        self.long_mul(other)
    }
}

impl BitAnd for Tnum {
    type Output = Self;
    fn bitand(self, other: Self) -> Self {
        let possible = (self.value | self.mask) & (other.value | other.mask);
        let certain = self.value & other.value;
        Self::new(certain, possible & !certain)
    }
}

impl BitOr for Tnum {
    type Output = Self;
    fn bitor(self, other: Self) -> Self {
        let certain = self.value | other.value;
        Self::new(certain, (self.mask | other.mask) & !certain)
    }
}

impl BitXor for Tnum {
    type Output = Self;
    fn bitxor(self, other: Self) -> Self {
        Self::new(self.value ^ other.value, self.mask | other.mask)
    }
}

impl Not for Tnum {
    type Output = Self;
    fn not(self) -> Self {
        Self::new(!self.value, self.mask)
    }
}

/// By less than 64.
impl Shl<u32> for Tnum {
    type Output = Self;
    fn shl(self, by: u32) -> Self {
        Self {
            value: self.value.wrapping_shl(by),
            mask: self.mask.wrapping_shl(by),
        }
    }
}

/// Logical, by less than 64.
impl Shr<u32> for Tnum {
    type Output = Self;
    fn shr(self, by: u32) -> Self {
        Self {
            value: self.value.wrapping_shr(by),
            mask: self.mask.wrapping_shr(by),
        }
    }
}
