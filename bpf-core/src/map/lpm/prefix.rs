//! A key of the trie: `struct bpf_lpm_trie_key`.

/// A prefix length and the bits.
#[derive(Clone, Copy)]
pub(super) struct Prefix<'a> {
    /// In bits; may be beyond what the data has.
    pub length: u32,
    /// The bits, most significant first.
    pub data: &'a [u8],
    /// The first 64 of them.
    first: u64,
}

impl<'a> Prefix<'a> {
    #[inline(always)]
    pub(super) fn parse(key: &'a [u8]) -> Option<Prefix<'a>> {
        let (length, data) = key.split_first_chunk::<4>()?;
        Some(Prefix {
            length: u32::from_le_bytes(*length),
            data,
            first: word(data, 0),
        })
    }

    /// Bits `64 * i` and on.
    #[inline(always)]
    pub(super) fn word(&self, i: u32) -> u64 {
        if i == 0 {
            self.first
        } else {
            word(self.data, i as usize)
        }
    }

    /// Bit `i`; 0 behind the end.
    #[inline(always)]
    pub(super) fn bit(&self, i: u32) -> bool {
        if i < 64 {
            return self.first << i >> 63 != 0;
        }
        let byte = self.data.get(i as usize / 8).copied().unwrap_or(0);
        byte >> (7 - i % 8) & 1 != 0
    }
}

#[inline(always)]
fn word(data: &[u8], i: usize) -> u64 {
    let rest = data.get(i * 8..).unwrap_or(&[]);
    match rest.first_chunk() {
        Some(w) => u64::from_be_bytes(*w),
        None => {
            let mut w = [0; 8];
            for (to, from) in w.iter_mut().zip(rest) {
                *to = *from;
            }
            u64::from_be_bytes(w)
        }
    }
}
