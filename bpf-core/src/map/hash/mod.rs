//! Hash tables: stub.
use super::Fields;
use super::error::{MapError, ReadError};
use super::geometry::Geometry;
use super::guest::{Cursor, Entry};
use super::region::Region;

/// Where a hash table's parts lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HashLayout {}
impl HashLayout {
    pub(super) fn new(_geo: &Geometry) -> Option<(HashLayout, u64)> {
        Some((HashLayout {}, 64))
    }
}
pub(super) struct Hash {}
impl Hash {
    pub(super) fn new(
        _geo: &Geometry,
        _l: HashLayout,
        _region: Region,
        _seed: u64,
        _fields: Fields,
    ) -> Hash {
        Hash {}
    }
    pub(super) fn init(&self) {}
    pub(super) fn lookup(&self, _cpu: u32, _key: &[u8]) -> Option<u64> {
        None
    }
    pub(super) fn load_u32(&self, _addr: u64) -> Option<u32> {
        None
    }
    pub(super) fn update(
        &self,
        _cpu: u32,
        _key: &[u8],
        _value: &[u8],
        _flags: u64,
    ) -> Result<(), MapError> {
        Err(MapError::NO_OP)
    }
    pub(super) fn update_all(
        &self,
        _cpu: u32,
        _key: &[u8],
        _value: &[u8],
        _flags: u64,
    ) -> Result<(), MapError> {
        Err(MapError::NO_OP)
    }
    pub(super) fn delete(&self, _cpu: u32, _key: &[u8]) -> Result<(), MapError> {
        Err(MapError::NO_OP)
    }
    pub(super) fn take(
        &self,
        _cpu: u32,
        _key: &[u8],
        _out: &mut [u8],
        _flags: u64,
    ) -> Result<(), MapError> {
        Err(MapError::NO_OP)
    }
    pub(super) fn next_entry(&self, _cpu: u32, _cursor: &mut Cursor) -> Option<Entry> {
        None
    }
    pub(super) fn read_locked(
        &self,
        _key: &[u8],
        _out: &mut [u8],
        _flags: u64,
    ) -> Result<(), MapError> {
        Err(MapError::NO_OP)
    }
    pub(super) fn next_key_locked(
        &self,
        _key: Option<&[u8]>,
        _out: &mut [u8],
    ) -> Result<(), MapError> {
        Err(MapError::NO_OP)
    }
    pub(super) fn batch_locked(
        &self,
        _cpu: u32,
        _p: u64,
        _k: &mut [u8],
        _v: &mut [u8],
        _delete: bool,
    ) -> Result<(u32, Option<u64>), MapError> {
        Err(MapError::NO_OP)
    }
    pub(super) fn read(&self, _key: &[u8], _out: &mut [u8], _flags: u64) -> Result<(), ReadError> {
        Err(ReadError::AskGuest)
    }
    pub(super) fn next_key(&self, _key: Option<&[u8]>, _out: &mut [u8]) -> Result<(), ReadError> {
        Err(ReadError::AskGuest)
    }
    pub(super) fn batch(
        &self,
        _p: u64,
        _k: &mut [u8],
        _v: &mut [u8],
    ) -> Result<(u32, Option<u64>), ReadError> {
        Err(ReadError::AskGuest)
    }
}
