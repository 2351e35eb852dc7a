//! Shifts by known amounts.

use super::{AluOp, Bounds, Num, Width};

impl<const W: u32, const H: u32> Num<W, H> {
    /// Shifted by `by`, less than the width; not yet zero-extended where that is 32.
    pub(super) fn shift(&self, op: AluOp, width: Width, by: u32) -> Self {
        match width {
            Width::W64 => {
                let mut out = self.shift64(op, by);
                out.ranges_from_bits();
                out
            }
            Width::W32 => self.shift32(op, by),
        }
    }

    fn shift64(&self, op: AluOp, by: u32) -> Self {
        let (tnum, wide, low) = match op {
            AluOp::Lsh => (self.tnum << by, self.lsh_wide(by), self.low.lsh(by)),
            AluOp::Rsh => (self.tnum >> by, self.wide.rsh(by), Bounds::UNKNOWN),
            _ => (self.tnum.arsh(by, W), self.wide.arsh(by), Bounds::UNKNOWN),
        };
        Self {
            tnum: tnum.truncate(W),
            wide,
            low,
        }
    }

    fn shift32(&self, op: AluOp, by: u32) -> Self {
        let half = self.tnum.truncate(H);
        let (tnum, mut low) = match op {
            AluOp::Lsh => (half << by, self.low.lsh(by)),
            AluOp::Rsh => (half >> by, self.low.rsh(by)),
            _ => (half.arsh(by, H), self.low.arsh(by)),
        };
        let tnum = tnum.truncate(H);
        low.learn_bits(tnum);
        Self {
            tnum,
            wide: Bounds::UNKNOWN,
            low,
        }
    }

    /// A shift by half the width makes the low half's sign that of the whole.
    fn lsh_wide(&self, by: u32) -> Bounds<W> {
        let mut wide = self.wide.lsh(by);
        if by == H {
            (wide.smin, wide.smax) = (self.low.smin << H, self.low.smax << H);
        }
        wide
    }
}
