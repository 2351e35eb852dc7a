//! Reproducible randomness.

/// A small, fast random number generator (splitmix64). Equal seeds give equal
/// programs, on every machine.
#[derive(Clone, Debug)]
pub struct Rng(u64);

impl Rng {
    /// From a seed.
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Any number.
    pub fn word(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number in `0..n`; 0 where `n` is 0.
    pub fn below(&mut self, n: u64) -> u64 {
        self.word().checked_rem(n).unwrap_or(0)
    }

    /// A number in `lo..=hi`.
    pub fn within(&mut self, lo: i64, hi: i64) -> i64 {
        lo + self.below((hi - lo) as u64 + 1) as i64
    }

    /// True once in `n`.
    pub fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    /// One of several.
    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as u64) as usize]
    }

    /// A 64-bit number of the kind that breaks arithmetic.
    pub fn number(&mut self) -> u64 {
        let near = self.within(-2, 2) as u64;
        match self.below(6) {
            0 => near,
            1 => (1u64 << self.below(64)).wrapping_add(near),
            2 => (1u64 << self.below(64)).wrapping_neg().wrapping_add(near),
            3 => self.word() >> self.below(64),
            4 => (self.below(3).wrapping_sub(1) << 32).wrapping_add(near),
            _ => self.word(),
        }
    }

    /// As [`Rng::number`], in 32 bits.
    pub fn imm(&mut self) -> i32 {
        match self.below(3) {
            0 => self.within(-16, 64) as i32,
            1 => (self.number() >> 32) as i32,
            _ => self.number() as i32,
        }
    }
}
