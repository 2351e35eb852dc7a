//! Room in the shared slot.

/// A piece of shared memory, freed when dropped. It was zeroed when it was given.
#[derive(Debug)]
pub struct Block {
    offset: u64,
    len: u64,
}

impl Block {
    /// Offset in the shared slot.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Length in bytes.
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> u64 {
        self.len
    }
}
