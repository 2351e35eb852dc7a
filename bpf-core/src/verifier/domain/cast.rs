//! Extensions, truncations and byte swaps.

use super::{Bounds, Num, Scalar, Swap, Tnum, Width};

impl<const W: u32, const H: u32> Num<W, H> {
    /// The low half, zero-extended: what a 32-bit move leaves.
    pub fn truncate32(&self) -> Self {
        self.low_half().synced().sane()
    }

    pub(super) fn low_half(&self) -> Self {
        Self {
            tnum: self.tnum.truncate(H),
            wide: self.low.zero_extended(),
            low: self.low,
        }
    }

    /// The low `bits` bits (1 to `W`), zero-extended: what a narrow load leaves
    /// (`coerce_reg_to_size`).
    pub fn zero_extend(&self, bits: u32) -> Self {
        if bits >= W {
            return *self;
        }
        let mask = (1 << bits) - 1;
        let (umin, umax) = if self.wide.umin & !mask == self.wide.umax & !mask {
            (self.wide.umin & mask, self.wide.umax & mask)
        } else {
            (0, mask)
        };
        let low = if bits < H { Bounds::UNKNOWN } else { self.low };
        let narrow = Self {
            tnum: self.tnum.truncate(bits),
            wide: Bounds {
                umin,
                umax,
                smin: umin as i64,
                smax: umax as i64,
            },
            low,
        };
        narrow.synced().sane()
    }

    /// The low `bits` bits (1 to `W`), sign-extended to `width` (and from there
    /// zero-extended). Ranges survive where all the bits above are the same and
    /// the sign is (`coerce_reg_to_size_sx`, `coerce_subreg_to_size_sx`).
    pub fn sign_extend(&self, bits: u32, width: Width) -> Self {
        match width {
            Width::W64 if bits >= W => *self,
            Width::W64 => self.sign_extend_whole(bits),
            Width::W32 => {
                let low = sign_extended(self.tnum.truncate(H), &self.low, bits);
                let half = Self {
                    tnum: low.0,
                    wide: Bounds::UNKNOWN,
                    low: low.1,
                };
                half.truncate32()
            }
        }
    }

    fn sign_extend_whole(&self, bits: u32) -> Self {
        if let Some(v) = self.as_const() {
            return Self::constant(signed(v, bits) as u64);
        }
        let (tnum, wide) = sign_extended(self.tnum, &self.wide, bits);
        let low = if tnum == Self::UNKNOWN.tnum {
            let narrow = bits.min(H);
            let least = -1i64 << (narrow - 1);
            Bounds::signed_range(least, !least)
        } else if bits > H {
            Bounds::UNKNOWN
        } else {
            let of = |v: i64| v as u64 & Bounds::<H>::MAX;
            Bounds {
                umin: of(wide.smin),
                umax: of(wide.smax),
                smin: Bounds::<H>::signed(wide.smin as u64),
                smax: Bounds::<H>::signed(wide.smax as u64),
            }
        };
        Self { tnum, wide, low }.sane()
    }
}

/// Known bits and ranges of the number whose low `bits` bits are extended.
fn sign_extended<const W: u32>(tnum: Tnum, range: &Bounds<W>, bits: u32) -> (Tnum, Bounds<W>) {
    let of = |v: i64| v as u64 & Bounds::<W>::MAX;
    if tnum.is_const() {
        let v = of(signed(tnum.value, bits));
        return (Tnum::constant(v), Bounds::constant(v));
    }
    let (low, high) = (
        signed(range.smin as u64, bits),
        signed(range.smax as u64, bits),
    );
    let (min, max) = (low.min(high), low.max(high));
    let known = bits >= W || range.smin >> bits == range.smax >> bits;
    if !known || (min >= 0) != (max >= 0) {
        let least = -1i64 << (bits - 1);
        let tnum = Tnum::new(0, Bounds::<W>::MAX);
        return (tnum, Bounds::signed_range(least, !least));
    }
    let range = Bounds {
        umin: of(min),
        umax: of(max),
        smin: min,
        smax: max,
    };
    (Tnum::range(of(min), of(max)), range)
}

/// The low `bits` bits as two's complement.
fn signed(v: u64, bits: u32) -> i64 {
    let spare = 64 - bits.clamp(1, 64);
    ((v << spare) as i64) >> spare
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
