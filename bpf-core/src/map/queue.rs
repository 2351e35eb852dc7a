//! Queues and stacks.
use super::error::MapError;
use super::geometry::{Geometry, QueueLayout};
use super::region::Region;

pub(super) struct Queue {}

impl Queue {
    pub(super) fn new(_geo: &Geometry, _l: QueueLayout, _region: Region) -> Queue {
        Queue {}
    }
    pub(super) fn push(&self, _value: &[u8], _flags: u64) -> Result<(), MapError> {
        Err(MapError::NO_OP)
    }
    pub(super) fn take(&self, _out: &mut [u8], _remove: bool) -> Result<(), MapError> {
        Err(MapError::NO_OP)
    }
}
