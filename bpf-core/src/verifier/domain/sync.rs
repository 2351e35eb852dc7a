//! Deductions between the descriptions of one number.

use super::{Bounds, Num, Tnum};

/// More rounds than any chain of deductions seen to matter; each round is sound
/// on its own, so stopping early only costs precision.
const ROUNDS: usize = 6;

impl<const W: u32, const H: u32> Num<W, H> {
    /// The number with these descriptions, each narrowed by what the others
    /// tell; `None` where they contradict each other.
    pub(super) fn settle(tnum: Tnum, wide: Bounds<W>, low: Bounds<H>) -> Option<Self> {
        let mut now = Self { tnum, wide, low };
        if tnum.is_const() {
            return now
                .contains(tnum.value)
                .then_some(Self::constant(tnum.value));
        }
        for _ in 0..ROUNDS {
            let next = now.deduce()?;
            if next == now {
                break;
            }
            now = next;
        }
        Some(now)
    }

    /// One round: bits to ranges, whole to low half, low half to whole, ranges
    /// to bits.
    fn deduce(&self) -> Option<Self> {
        let wide = self.wide.agree_with(self.tnum)?.cross()?;
        let low = self
            .low
            .agree_with(self.tnum.truncate(H))?
            .intersect(&Bounds::wrapped(wide.umin as i128, wide.umax as i128))?
            .intersect(&Bounds::wrapped(wide.smin as i128, wide.smax as i128))?
            .cross()?;
        let wide = wide.agree_with_low(&low)?.cross()?;
        let whole = self.tnum.intersect(Tnum::range(wide.umin, wide.umax))?;
        let half = whole
            .truncate(H)
            .intersect(Tnum::range(low.umin, low.umax))?;
        Some(Self {
            tnum: whole.with_low(H, half),
            wide,
            low,
        })
    }
}
