//! Signed and unsigned range of numbers of one width.

/// A set of `W`-bit numbers: those in `umin..=umax` that also lie in
/// `smin..=smax` when read as two's complement. `W` is 1 to 64.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Bounds<const W: u32> {
    /// Least value, unsigned.
    pub umin: u64,
    /// Greatest value, unsigned.
    pub umax: u64,
    /// Least value, signed.
    pub smin: i64,
    /// Greatest value, signed.
    pub smax: i64,
}

impl<const W: u32> Bounds<W> {
    /// The greatest unsigned number.
    pub const MAX: u64 = u64::MAX >> (64 - W);
    /// The greatest signed number.
    pub const SMAX: i64 = (Self::MAX >> 1) as i64;
    /// The least signed number.
    pub const SMIN: i64 = -Self::SMAX - 1;
    /// Every number.
    pub const UNKNOWN: Self = Self {
        umin: 0,
        umax: Self::MAX,
        smin: Self::SMIN,
        smax: Self::SMAX,
    };

    /// One number.
    pub const fn constant(v: u64) -> Self {
        let (u, s) = (v & Self::MAX, Self::signed(v));
        Self {
            umin: u,
            umax: u,
            smin: s,
            smax: s,
        }
    }

    /// The low `W` bits read as two's complement.
    pub const fn signed(v: u64) -> i64 {
        ((v << (64 - W)) as i64) >> (64 - W)
    }

    /// Whether the low `W` bits of `v` are a member.
    pub const fn contains(&self, v: u64) -> bool {
        let (u, s) = (v & Self::MAX, Self::signed(v));
        self.umin <= u && u <= self.umax && self.smin <= s && s <= self.smax
    }
}
