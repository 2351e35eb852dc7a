//! Errors of map operations.

use crate::uapi::errno;
use core::fmt;

/// A refused map operation: Linux's errno and what was wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MapError {
    /// Positive error number, as in `errno.h`.
    pub errno: i32,
    /// What was expected, in one line.
    pub message: &'static str,
}

impl MapError {
    /// An error with this number and text.
    pub const fn new(errno: i32, message: &'static str) -> MapError {
        MapError { errno, message }
    }

    /// `EINVAL`.
    pub const fn invalid(message: &'static str) -> MapError {
        MapError::new(errno::EINVAL, message)
    }

    /// `ENOENT`: no such key.
    pub const NO_KEY: MapError = MapError::new(errno::ENOENT, "no such key");
    /// `EEXIST`: `BPF_NOEXIST`, but the key is there.
    pub const KEY_EXISTS: MapError = MapError::new(errno::EEXIST, "the key is there already");
    /// `E2BIG`: no room.
    pub const FULL: MapError = MapError::new(errno::E2BIG, "the map is full");
    /// `E2BIG`: an array index out of range.
    pub const INDEX: MapError = MapError::new(errno::E2BIG, "the index is not below max_entries");
    /// `EBUSY`: a lock was not free within the bound.
    pub const BUSY: MapError = MapError::new(errno::EBUSY, "the lock was held too long");
    /// `ENOTSUPP` (524): this type has no such operation.
    pub const NO_OP: MapError =
        MapError::new(errno::ENOTSUPP, "this map type has no such operation");
    /// `EINVAL`: key of the wrong length.
    pub const KEY_SIZE: MapError = MapError::invalid("the key's length is not key_size");
    /// `EINVAL`: value of the wrong length.
    pub const VALUE_SIZE: MapError =
        MapError::invalid("the value's length is not that of the map's values");
    /// `EINVAL`: flags that the operation does not take.
    pub const FLAGS: MapError = MapError::invalid("flags that this operation does not take");
}

impl fmt::Display for MapError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (errno {})", self.message, self.errno)
    }
}

impl core::error::Error for MapError {}

/// Why the host could not read by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadError {
    /// The answer, as the guest would give it.
    Map(MapError),
    /// The storage kept changing, or makes no sense, or the operation needs the
    /// guest: ask it.
    AskGuest,
}

impl From<MapError> for ReadError {
    fn from(e: MapError) -> ReadError {
        ReadError::Map(e)
    }
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ReadError::Map(e) => e.fmt(f),
            ReadError::AskGuest => f.write_str("the guest must be asked"),
        }
    }
}

impl core::error::Error for ReadError {}
