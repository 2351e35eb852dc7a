//! Arithmetic and logic on numbers that are partly known: what Linux deduces,
//! and no more (`adjust_scalar_min_max_vals`). We could know more, but then
//! programs accepted here would not load elsewhere.

use super::{AluOp, Bounds, Num, Tnum, Width};

impl<const W: u32, const H: u32> Num<W, H> {
    /// `dst op src` as BPF computes it (RFC 9669, section 4.1). A 32-bit
    /// operation looks at the low halves only and zero-extends its result.
    ///
    /// Nothing is known of quotients, remainders, and shifts by amounts that are
    /// unknown or too great.
    pub fn alu(op: AluOp, width: Width, dst: &Self, src: &Self) -> Self {
        let result = match op {
            AluOp::Mov if width == Width::W64 => return *src,
            AluOp::Mov => return src.truncate32(),
            AluOp::Div | AluOp::Mod | AluOp::Sdiv | AluOp::Smod => return Self::UNKNOWN,
            AluOp::Lsh | AluOp::Rsh | AluOp::Arsh => match src.as_const() {
                Some(by) if by < Self::bits_of(width) => dst.shift(op, width, by as u32),
                _ => return Self::UNKNOWN,
            },
            _ if let (Some(a), Some(b)) = (dst.as_const(), src.as_const()) => {
                let value = known(op, a, b);
                return Self::constant(match width {
                    Width::W64 => value,
                    Width::W32 => value & Bounds::<H>::MAX,
                });
            }
            AluOp::Add | AluOp::Sub | AluOp::Mul => Self::arith(op, dst, src),
            AluOp::And | AluOp::Or | AluOp::Xor => Self::logic(op, dst, src),
        };
        let result = match width {
            Width::W64 => result,
            Width::W32 => result.low_half(),
        };
        result.synced().sane()
    }

    /// Two's complement negation.
    pub fn neg(&self, width: Width) -> Self {
        Self::alu(AluOp::Sub, width, &Self::constant(0), self)
    }

    /// A pointer's offset `self` moved by `by` (`adjust_ptr_min_max_vals`): its low
    /// half is not followed, and no view may wrap.
    pub fn moved(&self, by: &Self, back: bool) -> Self {
        let (wide, tnum) = if back {
            (self.wide.offset_difference(&by.wide), self.tnum - by.tnum)
        } else {
            (self.wide.offset_sum(&by.wide), self.tnum + by.tnum)
        };
        let offset = Self {
            tnum: tnum.truncate(W),
            wide,
            low: Bounds::UNKNOWN,
        };
        offset.synced().sane()
    }

    pub(super) fn bits_of(width: Width) -> u64 {
        match width {
            Width::W64 => W.into(),
            Width::W32 => H.into(),
        }
    }

    fn arith(op: AluOp, dst: &Self, src: &Self) -> Self {
        let (tnum, wide, low) = match op {
            AluOp::Add => (
                dst.tnum + src.tnum,
                dst.wide.sum(&src.wide),
                dst.low.sum(&src.low),
            ),
            AluOp::Sub => (
                dst.tnum - src.tnum,
                dst.wide.difference(&src.wide),
                dst.low.difference(&src.low),
            ),
            _ => (
                dst.tnum * src.tnum,
                dst.wide.product(&src.wide),
                dst.low.product(&src.low),
            ),
        };
        Self {
            tnum: tnum.truncate(W),
            wide,
            low,
        }
    }

    fn logic(op: AluOp, dst: &Self, src: &Self) -> Self {
        let tnum = match op {
            AluOp::And => dst.tnum & src.tnum,
            AluOp::Or => dst.tnum | src.tnum,
            _ => dst.tnum ^ src.tnum,
        };
        if tnum.is_const() && src.tnum.is_const() {
            return Self::constant(tnum.value);
        }
        let half = tnum.truncate(H);
        let wide = logic(op, &dst.wide, &src.wide, tnum);
        let low = if half.is_const() && src.tnum.truncate(H).is_const() {
            Bounds::constant(half.value)
        } else {
            logic(op, &dst.low, &src.low, half)
        };
        let mut out = Self { tnum, wide, low };
        out.ranges_from_bits();
        out
    }
}

/// The operation on numbers of which each is just one (not for shifts and divisions).
fn known(op: AluOp, a: u64, b: u64) -> u64 {
    match op {
        AluOp::Add => a.wrapping_add(b),
        AluOp::Sub => a.wrapping_sub(b),
        AluOp::Mul => a.wrapping_mul(b),
        AluOp::And => a & b,
        AluOp::Or => a | b,
        _ => a ^ b,
    }
}

fn logic<const W: u32>(op: AluOp, a: &Bounds<W>, b: &Bounds<W>, bits: Tnum) -> Bounds<W> {
    match op {
        AluOp::And => a.and(b, bits),
        AluOp::Or => a.or(b, bits),
        _ => Bounds::xor(bits),
    }
}
