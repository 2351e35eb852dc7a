//! Shifts by amounts that are known or partly known.

use super::{AluOp, Bounds, Num, Width};

impl<const W: u32, const H: u32> Num<W, H> {
    /// The union over all amounts that `src`, taken modulo the width, can be.
    pub(super) fn shift(op: AluOp, width: Width, dst: &Self, src: &Self) -> Option<Self> {
        let bits = match width {
            Width::W64 => W,
            Width::W32 => H,
        };
        let amounts = match width {
            Width::W64 => (src.wide.umin, src.wide.umax),
            Width::W32 => (src.low.umin, src.low.umax),
        };
        let (first, last) = match amounts.1 < bits as u64 {
            true => (amounts.0 as u32, amounts.1 as u32),
            false => (0, bits - 1),
        };
        let known = src.tnum.truncate(bits.trailing_zeros());
        (first..=last)
            .filter(|&by| known.contains(by as u64))
            .filter_map(|by| dst.shift_by(op, width, by))
            .reduce(|a, b| a.union(&b))
    }

    /// A shift by a known amount below the width.
    pub(super) fn shift_by(&self, op: AluOp, width: Width, by: u32) -> Option<Self> {
        match width {
            Width::W64 if by == 0 => Some(*self),
            Width::W64 => self.shift64(op, by),
            Width::W32 if by == 0 => Some(self.truncate32()),
            Width::W32 => self.shift32(op, by),
        }
    }

    fn shift64(&self, op: AluOp, by: u32) -> Option<Self> {
        let (tnum, wide, low) = match op {
            AluOp::Lsh => (self.tnum << by, self.lsh_wide(by)?, self.lsh_low(by)?),
            AluOp::Rsh => (self.tnum >> by, self.wide.rsh(by), Bounds::UNKNOWN),
            _ => (self.tnum.arsh(by, W), self.wide.arsh(by), Bounds::UNKNOWN),
        };
        Self::settle(tnum.truncate(W), wide, low)
    }

    fn shift32(&self, op: AluOp, by: u32) -> Option<Self> {
        let tnum = self.tnum.truncate(H);
        let (tnum, low) = match op {
            AluOp::Lsh => (tnum << by, self.low.lsh(by)?),
            AluOp::Rsh => (tnum >> by, self.low.rsh(by)),
            _ => (tnum.arsh(by, H), self.low.arsh(by)),
        };
        Self::settle(tnum.truncate(H), Bounds::UNKNOWN, low)
    }

    /// Once the upper half is shifted out, the ranges of the low half decide.
    fn lsh_wide(&self, by: u32) -> Option<Bounds<W>> {
        let whole = self.wide.lsh(by)?;
        if by < H {
            return Some(whole);
        }
        let low = &self.low;
        whole
            .intersect(&Bounds::wrapped(
                (low.umin as i128) << by,
                (low.umax as i128) << by,
            ))?
            .intersect(&Bounds::wrapped(
                (low.smin as i128) << by,
                (low.smax as i128) << by,
            ))
    }

    fn lsh_low(&self, by: u32) -> Option<Bounds<H>> {
        if by < H {
            self.low.lsh(by)
        } else {
            Some(Bounds::constant(0))
        }
    }
}
