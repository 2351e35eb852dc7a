//! Deductions between the descriptions of one number: those of Linux
//! (`reg_bounds_sync`), in its order, so that what is deduced is the same.

use super::{Bounds, Num, Tnum};

/// Rounds of deductions between the ranges.
const ROUNDS: usize = 3;

impl<const W: u32, const H: u32> Num<W, H> {
    /// The number with each description narrowed by what the others tell.
    pub(super) fn synced(mut self) -> Self {
        if self.ranges_from_bits() {
            return self;
        }
        for _ in 0..ROUNDS {
            let before = (self.wide, self.low);
            self.low_from_wide();
            self.low.share();
            self.wide.share();
            self.wide_from_low();
            // What changed nothing will not do so the next time.
            if before == (self.wide, self.low) {
                break;
            }
        }
        self.bits_from_ranges();
        self.ranges_from_bits();
        self
    }

    /// As it is, or with unknown ranges where the descriptions contradict each
    /// other (`reg_bounds_sanity_check`): nothing is claimed of a place that is
    /// never reached.
    pub(super) fn sane(self) -> Self {
        let (wide, low, half) = (&self.wide, &self.low, self.tnum.truncate(H));
        let whole = !self.tnum.is_const() || *wide == Bounds::constant(self.tnum.value);
        let part = !half.is_const() || *low == Bounds::constant(half.value);
        if wide.is_sane() && low.is_sane() && whole && part {
            return self;
        }
        Self {
            tnum: self.tnum,
            ..Self::UNKNOWN
        }
    }

    /// What the known bits tell of both widths (`__update_reg_bounds`): `true` where
    /// that leaves one number.
    pub(super) fn ranges_from_bits(&mut self) -> bool {
        self.low.learn_bits(self.tnum.truncate(H));
        self.wide.learn_bits(self.tnum);
        let only = self.only_member();
        if let Some(v) = only {
            *self = Self::constant(v);
        }
        only.is_some()
    }

    /// The one number that agrees with the known bits and lies in the range, if it
    /// is the least in range, the next one, or the greatest of all.
    fn only_member(&self) -> Option<u64> {
        let (tnum, wide) = (self.tnum, &self.wide);
        let next = tnum.next_above(wide.umin);
        if tnum.contains(wide.umin) {
            return (next > wide.umax).then_some(wide.umin);
        }
        if next == tnum.greatest() {
            return Some(next);
        }
        let single = next <= wide.umax && tnum.next_above(next) > wide.umax;
        single.then_some(next)
    }

    /// Where the upper half does not change over the range, the low half does not
    /// wrap (`__reg32_deduce_bounds`).
    fn low_from_wide(&mut self) {
        let (umin, umax) = (self.wide.umin, self.wide.umax);
        let (smin, smax) = (self.wide.smin as u64, self.wide.smax as u64);
        let s = Bounds::<H>::signed;
        let u = |v: u64| v & Bounds::<H>::MAX;
        let low = &mut self.low;
        if umin >> H == umax >> H {
            low.narrow_unsigned(u(umin), u(umax));
            if s(umin) <= s(umax) {
                low.narrow_signed(s(umin), s(umax));
            }
        }
        if smin >> H == smax >> H {
            if u(smin) <= u(smax) {
                low.narrow_unsigned(u(smin), u(smax));
            }
            if s(smin) <= s(smax) {
                low.narrow_signed(s(smin), s(smax));
            }
        }
        // The upper half takes two values in a row, the low one passes zero.
        for (lo, hi) in [(umin, umax), (smin, smax)] {
            if u((lo >> H) + 1) == u(hi >> H) && s(lo) < 0 && s(hi) >= 0 {
                low.narrow_signed(s(lo), s(hi));
            }
        }
    }

    /// The low half's range below the upper half's ends
    /// (`__reg_deduce_mixed_bounds`).
    fn wide_from_low(&mut self) {
        let upper = !Bounds::<H>::MAX;
        let (lo, hi) = (self.low.umin, self.low.umax);
        let wide = &mut self.wide;
        wide.narrow_unsigned(wide.umin & upper | lo, wide.umax & upper | hi);
        let under = |v: i64, low: u64| (v as u64 & upper | low) as i64;
        wide.narrow_signed(under(wide.smin, lo), under(wide.smax, hi));
        // A sign-extended half that is not negative is the whole number.
        let extended = wide.smin >= Bounds::<H>::SMIN && wide.smax <= Bounds::<H>::SMAX;
        if self.low.smin >= 0 && extended {
            *wide = self.low.zero_extended();
            let range = Tnum::range(wide.umin, wide.umax);
            self.tnum = self.tnum.meet(range);
        }
    }

    /// The common leading bits of both ranges (`__reg_bound_offset`).
    fn bits_from_ranges(&mut self) {
        let whole = self.tnum.meet(Tnum::range(self.wide.umin, self.wide.umax));
        let range = Tnum::range(self.low.umin, self.low.umax);
        let half = whole.truncate(H).meet(range);
        self.tnum = whole.with_low(H, half).truncate(W);
    }
}
