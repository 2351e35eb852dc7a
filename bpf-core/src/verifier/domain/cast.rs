//! Extensions, truncations and byte swaps.

use super::{AluOp, Bounds, Num, Scalar, Swap, Width};

impl<const W: u32, const H: u32> Num<W, H> {
    /// The low `bits` bits (1 to `W`), zero-extended.
    pub fn zero_extend(&self, bits: u32) -> Self {
        if bits > H {
            return self.extend(AluOp::Rsh, Width::W64, W.saturating_sub(bits));
        }
        let low = Self::settle(self.tnum.truncate(H), Bounds::UNKNOWN, self.low);
        let low = low.unwrap_or(Self::UNKNOWN);
        match bits {
            _ if bits == H => low,
            _ => low.extend(AluOp::Rsh, Width::W32, H - bits.max(1)),
        }
    }

    /// The low half, zero-extended: what a 32-bit move leaves.
    pub fn truncate32(&self) -> Self {
        self.zero_extend(H)
    }

    /// The low `bits` bits (1 to `W`), sign-extended to `width` (and from there
    /// zero-extended).
    pub fn sign_extend(&self, bits: u32, width: Width) -> Self {
        let whole = match width {
            Width::W64 => W,
            Width::W32 => H,
        };
        self.extend(AluOp::Arsh, width, whole.saturating_sub(bits.max(1)))
    }

    /// Shifts left and back: the bits that fall out are replaced by zeros or
    /// copies of the sign, and the ranges follow where they can.
    fn extend(&self, back: AluOp, width: Width, by: u32) -> Self {
        self.shift_by(AluOp::Lsh, width, by)
            .and_then(|up| up.shift_by(back, width, by))
            .unwrap_or(Self::UNKNOWN)
    }
}

impl Scalar {
    /// A byte order operation on the low `bits` bits (16, 32 or 64), on a
    /// little-endian machine. Bits above are cleared.
    pub fn byte_swap(&self, swap: Swap, bits: u32) -> Self {
        let bits = bits.clamp(1, 64);
        match swap {
            Swap::Le => self.zero_extend(bits),
            Swap::Be | Swap::Bswap => {
                Self::from_tnum(self.tnum().truncate(bits).swap_bytes() >> (64 - bits))
            }
        }
    }
}
