//! Ring buffers.
use super::error::MapError;
use super::error::ReadError;
use super::geometry::RingLayout;
use super::region::Region;

/// Flags of `bpf_ringbuf_output`, `_submit` and `_discard`, and what
/// `bpf_ringbuf_query` is asked.
pub mod ring_flags {
    /// `BPF_RB_NO_WAKEUP`.
    pub const NO_WAKEUP: u64 = 1;
    /// `BPF_RB_FORCE_WAKEUP`.
    pub const FORCE_WAKEUP: u64 = 2;
    /// `BPF_RB_AVAIL_DATA`: bytes not yet consumed.
    pub const AVAIL_DATA: u64 = 0;
    /// `BPF_RB_RING_SIZE`.
    pub const RING_SIZE: u64 = 1;
    /// `BPF_RB_CONS_POS`.
    pub const CONS_POS: u64 = 2;
    /// `BPF_RB_PROD_POS`.
    pub const PROD_POS: u64 = 3;
}

/// A ring buffer's storage.
#[derive(Clone)]
pub(super) struct Ring {
    _region: Region,
}

impl Ring {
    pub(super) fn new(_l: RingLayout, region: Region) -> Ring {
        Ring { _region: region }
    }
    pub(super) fn reserve(&self, _size: u64) -> Option<u64> {
        None
    }
    pub(super) fn commit(&self, _addr: u64, _flags: u64, _discard: bool) -> Result<bool, MapError> {
        Err(MapError::NO_OP)
    }
    pub(super) fn output(&self, _data: &[u8], _flags: u64) -> Result<bool, MapError> {
        Err(MapError::NO_OP)
    }
    pub(super) fn query(&self, _what: u64) -> u64 {
        0
    }
}

/// The host's end of a ring buffer.
pub struct RingConsumer {
    _ring: Ring,
}

impl RingConsumer {
    pub(super) fn new(ring: Ring) -> RingConsumer {
        RingConsumer { _ring: ring }
    }

    /// Copies the next committed record's data into `out`; `Ok(false)` where
    /// there is none now. Discarded records are skipped. `AskGuest` where the
    /// ring makes no sense: it was skipped to its end.
    pub fn next(&mut self, _out: &mut alloc::vec::Vec<u8>) -> Result<bool, ReadError> {
        Ok(false)
    }
}
