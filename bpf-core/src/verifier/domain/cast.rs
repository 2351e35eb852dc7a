//! Extensions, truncations and byte swaps.

use super::{Num, Scalar, Swap, Width};

impl<const W: u32, const H: u32> Num<W, H> {
    /// The low `bits` bits (1 to `W`), zero-extended.
    pub fn zero_extend(&self, bits: u32) -> Self {
        let _ = bits;
        Self::UNKNOWN
    }

    /// The low half, zero-extended: what a 32-bit move leaves.
    pub fn truncate32(&self) -> Self {
        self.zero_extend(H)
    }

    /// The low `bits` bits (1 to `W`), sign-extended to `width` (and from there
    /// zero-extended).
    pub fn sign_extend(&self, bits: u32, width: Width) -> Self {
        let _ = (bits, width);
        Self::UNKNOWN
    }
}

impl Scalar {
    /// A byte order operation on the low `bits` bits (16, 32 or 64), on a
    /// little-endian machine. Bits above are cleared.
    pub fn byte_swap(&self, swap: Swap, bits: u32) -> Self {
        let _ = (swap, bits);
        Self::UNKNOWN
    }
}
