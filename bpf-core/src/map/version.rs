//! A lock for writers and a version for readers, in one word.
//!
//! Bit 0 is the lock, the rest the version. A writer that holds the lock makes
//! each change with one store that leaves the structure sound, unlocks with the
//! next version, and only then gives memory back that it took out. A reader that
//! finds the same version before and after therefore saw memory that belonged to
//! the structure all the while. Readers never wait for a writer; they read again
//! when one was done meanwhile.

use super::error::MapError;
use super::region::{Region, SPINS};

/// How often a read is tried before something else is done.
const TRIES: u32 = 64;

/// A lock that is held; what unlocking stores depends on what was done.
pub(super) struct Held {
    off: u64,
    word: u32,
    /// Readers that began before must begin anew.
    pub changed: bool,
}

/// Takes the lock at `off`; `EBUSY` where it is not free within the bound.
#[inline(always)]
pub(super) fn hold(r: &Region, off: u64) -> Result<Held, MapError> {
    for _ in 0..SPINS {
        let word = r.load_u32(off);
        if word & 1 == 0 && r.cas_u32(off, word, word | 1).is_ok() {
            return Ok(Held {
                off,
                word: word | 1,
                changed: false,
            });
        }
        core::hint::spin_loop();
    }
    Err(MapError::BUSY)
}

/// Unlocks, with the next version if anything changed.
#[inline(always)]
pub(super) fn release(r: &Region, h: Held) {
    let word = if h.changed {
        h.word.wrapping_add(1)
    } else {
        h.word & !1
    };
    r.store_u32(h.off, word);
}

/// The next version at once, between two changes that no reader may see one of.
pub(super) fn bump(r: &Region, h: &mut Held) {
    h.word = h.word.wrapping_add(2);
    r.store_u32(h.off, h.word);
}

/// Reads until the version at `off` stayed the same meanwhile; `None` where it
/// never did.
#[inline(always)]
pub(super) fn steady<T>(r: &Region, off: u64, mut read: impl FnMut() -> T) -> Option<T> {
    for _ in 0..TRIES {
        let version = r.load_u32(off) >> 1;
        let t = read();
        if r.load_u32(off) >> 1 == version {
            return Some(t);
        }
    }
    None
}
