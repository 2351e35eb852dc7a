//! The longest-prefix-match trie.
use super::error::{MapError, ReadError};
use super::geometry::Geometry;
use super::region::Region;

/// Where a trie's parts lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LpmLayout {}

impl LpmLayout {
    pub(super) fn new(_geo: &Geometry) -> Option<(LpmLayout, u64)> {
        Some((LpmLayout {}, 64))
    }
}

pub(super) struct Lpm {}

impl Lpm {
    pub(super) fn new(_geo: &Geometry, _l: LpmLayout, _region: Region) -> Lpm {
        Lpm {}
    }
    pub(super) fn lookup(&self, _key: &[u8]) -> Option<u64> {
        None
    }
    pub(super) fn update(&self, _key: &[u8], _value: &[u8], _flags: u64) -> Result<(), MapError> {
        Err(MapError::NO_OP)
    }
    pub(super) fn delete(&self, _key: &[u8]) -> Result<(), MapError> {
        Err(MapError::NO_OP)
    }
    pub(super) fn read_locked(&self, _key: &[u8], _out: &mut [u8]) -> Result<(), MapError> {
        Err(MapError::NO_OP)
    }
    pub(super) fn next_key_locked(
        &self,
        _key: Option<&[u8]>,
        _out: &mut [u8],
    ) -> Result<(), MapError> {
        Err(MapError::NO_OP)
    }
    pub(super) fn read(&self, _key: &[u8], _out: &mut [u8]) -> Result<(), ReadError> {
        Err(ReadError::AskGuest)
    }
    pub(super) fn next_key(&self, _key: Option<&[u8]>, _out: &mut [u8]) -> Result<(), ReadError> {
        Err(ReadError::AskGuest)
    }
}
