//! The keyed hash: folded multiplications, seeded per map.
//!
//! Not a cryptographic hash, but one whose collisions can't be computed without
//! the seed. Host and guest derive the same secrets from the map's seed.

use super::super::region::Region;

/// Evaluates an expression with the key in the form that suits its length.
macro_rules! by_size {
    ($key:expr, $k:ident => $body:expr) => {{
        let key: &[u8] = $key;
        match key.as_chunks::<8>() {
            ([], [a, b, c, d]) => {
                let $k = $crate::map::hash::key::Half(u32::from_le_bytes([*a, *b, *c, *d]));
                $body
            }
            ([a], []) => {
                let $k = $crate::map::hash::key::Words([u64::from_le_bytes(*a)]);
                $body
            }
            ([a, b], []) => {
                let words = [u64::from_le_bytes(*a), u64::from_le_bytes(*b)];
                let $k = $crate::map::hash::key::Words(words);
                $body
            }
            _ => {
                let $k = key;
                $body
            }
        }
    }};
}
pub(super) use by_size;

/// The secrets of one map.
#[derive(Clone, Copy)]
pub(in super::super) struct Hasher {
    s: [u64; 4],
}

/// What is mixed into seeds (the fractional part of the golden ratio).
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

#[inline(always)]
fn fold(a: u64, b: u64) -> u64 {
    let m = u128::from(a) * u128::from(b);
    m as u64 ^ (m >> 64) as u64
}

impl Hasher {
    pub(in super::super) fn new(seed: u64) -> Hasher {
        let mut x = seed;
        let mut next = || {
            x = x.wrapping_add(STEP);
            let z = (x ^ x >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
            z ^ z >> 31
        };
        // Multipliers are odd and have a high bit, so that none is weak.
        let strong = |x| x | 1 | 1 << 63;
        Hasher {
            s: [next(), strong(next()), next(), strong(next())],
        }
    }

    #[inline(always)]
    fn finish(&self, acc: u64) -> u64 {
        fold(acc ^ self.s[2], self.s[3])
    }

    /// Hash of `len` bytes that come as 64-bit words, the last padded with zeros.
    #[inline(always)]
    fn words(&self, len: usize, word: impl Fn(usize) -> u64) -> u64 {
        let count = len.div_ceil(8);
        let mut acc = self.s[0] ^ (len as u64).wrapping_mul(STEP);
        let mut i = 0;
        while i < count {
            let w1 = if i + 1 < count { word(i + 1) } else { 0 };
            acc = fold(word(i) ^ self.s[1], w1 ^ acc);
            i += 2;
        }
        self.finish(acc)
    }

    #[inline(always)]
    fn word(&self, w: u64) -> u64 {
        self.finish(fold(w ^ self.s[0], self.s[1]))
    }

    #[inline(always)]
    fn pair(&self, a: u64, b: u64) -> u64 {
        self.finish(fold(a ^ self.s[0], b ^ self.s[1]))
    }

    /// Hash of a key.
    #[inline(always)]
    pub(in super::super) fn hash(&self, key: &[u8]) -> u64 {
        by_size!(key, k => k.hash(self))
    }

    /// Hash of the key that lies in an element.
    pub(super) fn hash_at(&self, r: &Region, off: u64, len: usize) -> u64 {
        let word = |i: usize| {
            let w = r.load_u64(off + i as u64 * 8);
            match len - i * 8 {
                0..8 => w & !(u64::MAX << ((len - i * 8) * 8)),
                _ => w,
            }
        };
        match len {
            4 | 8 => self.word(word(0)),
            16 => self.pair(word(0), word(1)),
            _ => self.words(len, word),
        }
    }
}

/// A key in the form that suits its length.
pub(super) trait Key: Copy {
    fn hash(self, h: &Hasher) -> u64;
    /// Whether it lies at `off`.
    fn is_at(self, r: &Region, off: u64) -> bool;
}

/// Four bytes.
#[derive(Clone, Copy)]
pub(super) struct Half(pub u32);

impl Key for Half {
    #[inline(always)]
    fn hash(self, h: &Hasher) -> u64 {
        h.word(u64::from(self.0))
    }
    #[inline(always)]
    fn is_at(self, r: &Region, off: u64) -> bool {
        r.load_u32(off) == self.0
    }
}

/// One or two words of eight bytes.
#[derive(Clone, Copy)]
pub(super) struct Words<const N: usize>(pub [u64; N]);

impl Key for Words<1> {
    #[inline(always)]
    fn hash(self, h: &Hasher) -> u64 {
        h.word(self.0[0])
    }
    #[inline(always)]
    fn is_at(self, r: &Region, off: u64) -> bool {
        r.load_u64(off) == self.0[0]
    }
}

impl Key for Words<2> {
    #[inline(always)]
    fn hash(self, h: &Hasher) -> u64 {
        h.pair(self.0[0], self.0[1])
    }
    #[inline(always)]
    fn is_at(self, r: &Region, off: u64) -> bool {
        r.load_u64(off) == self.0[0] && r.load_u64(off + 8) == self.0[1]
    }
}

impl Key for &[u8] {
    fn hash(self, h: &Hasher) -> u64 {
        let (words, tail) = self.as_chunks::<8>();
        h.words(self.len(), |i| match words.get(i) {
            Some(w) => u64::from_le_bytes(*w),
            None => padded(tail),
        })
    }
    fn is_at(self, r: &Region, off: u64) -> bool {
        r.equals(off, self)
    }
}

fn padded(tail: &[u8]) -> u64 {
    tail.iter().rev().fold(0, |w, b| w << 8 | u64::from(*b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_element_hashes_like_its_key() {
        let h = Hasher::new(7);
        let bytes: alloc::vec::Vec<u8> = (1..=64).collect();
        let r = Region::from_slice(&bytes);
        for len in 1..=64 {
            assert_eq!(h.hash(&bytes[..len]), h.hash_at(&r, 0, len), "{len} bytes");
        }
    }

    #[test]
    fn seeds_and_single_bits_change_about_half_of_the_hash() {
        for len in [4usize, 8, 16, 20] {
            let key = alloc::vec![0u8; len];
            let mut flips = 0;
            for bit in 0..len * 8 {
                let mut other = key.clone();
                other[bit / 8] ^= 1 << (bit % 8);
                flips += (Hasher::new(1).hash(&key) ^ Hasher::new(1).hash(&other)).count_ones();
            }
            let mean = f64::from(flips) / (len * 8) as f64;
            assert!((26.0..38.0).contains(&mean), "{len}: {mean}");
            assert_ne!(Hasher::new(1).hash(&key), Hasher::new(2).hash(&key));
        }
    }
}
