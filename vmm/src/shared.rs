//! The shared slot, seen from the host.

use crate::error::CallError;

/// Memory that host and guest both read and write. The guest may change it at
/// any time, so it is only ever copied in and out.
#[derive(Debug)]
pub struct SharedMemory {}

impl SharedMemory {
    /// Copies out. EINVAL-like [`CallError::Invalid`] when the range is outside.
    pub fn read(&self, offset: u64, into: &mut [u8]) -> Result<(), CallError> {
        let _ = (offset, into);
        todo!()
    }

    /// Copies in. [`CallError::Invalid`] when the range is outside.
    pub fn write(&self, offset: u64, from: &[u8]) -> Result<(), CallError> {
        let _ = (offset, from);
        todo!()
    }

    /// Where it is mapped. Valid as long as any handle of the VM or one of its
    /// objects lives. Only volatile or atomic accesses are sound.
    pub fn as_ptr(&self) -> *mut u8 {
        todo!()
    }

    /// Its length in bytes.
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> u64 {
        todo!()
    }
}
