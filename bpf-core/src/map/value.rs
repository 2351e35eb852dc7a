//! Values and the fields in them that belong to the runtime.

use super::Fields;
use super::error::MapError;
use super::region::Region;
use crate::uapi::elem_flags as f;

/// Size of a `struct bpf_spin_lock`.
const LOCK: u64 = 4;
/// Size of a `struct bpf_timer`.
const TIMER: u64 = 16;

impl Fields {
    fn spans(&self) -> [Option<(u64, u64)>; 2] {
        let mut s = [
            self.spin_lock.map(|o| (u64::from(o), LOCK)),
            self.timer.map(|o| (u64::from(o), TIMER)),
        ];
        s.sort_unstable_by_key(|s| s.map_or(u64::MAX, |s| s.0));
        s
    }

    /// Whether they lie in a value of this size, one beside the other, each where
    /// its words can be accessed as such.
    pub(super) fn check(&self, value_size: u32) -> Result<(), MapError> {
        let aligned =
            self.spin_lock.is_none_or(|o| o % 4 == 0) && self.timer.is_none_or(|o| o % 8 == 0);
        let mut done = 0;
        let mut apart = true;
        for (start, len) in self.spans().into_iter().flatten() {
            apart &= start >= done;
            done = start + len;
        }
        match aligned && apart && done <= u64::from(value_size) {
            true => Ok(()),
            false => Err(MapError::invalid("a lock or timer lies outside the value")),
        }
    }

    fn none(&self) -> bool {
        self.spin_lock.is_none() && self.timer.is_none()
    }

    /// Copies a value in, leaving the fields as they are.
    #[inline]
    pub(super) fn copy_in(&self, r: &Region, off: u64, value: &[u8]) {
        if self.none() {
            return r.copy_in(off, value);
        }
        let mut done = 0;
        for (start, len) in self.spans().into_iter().flatten() {
            copy_bytes(r, off, value, done..start);
            done = start + len;
        }
        copy_bytes(r, off, value, done..value.len() as u64);
    }

    /// Copies a value into an element that is new: the fields become zero.
    #[inline]
    pub(super) fn init(&self, r: &Region, off: u64, value: &[u8]) {
        if !self.none() {
            r.zero(off, value.len() as u64);
        }
        self.copy_in(r, off, value);
    }

    /// Copies a value out; the fields read as zero.
    #[inline]
    pub(super) fn copy_out(&self, r: &Region, off: u64, out: &mut [u8]) {
        r.copy_out(off, out);
        if self.none() {
            return;
        }
        for (start, len) in self.spans().into_iter().flatten() {
            if let Some(field) = out.get_mut(start as usize..(start + len) as usize) {
                field.fill(0);
            }
        }
    }

    /// What the system call says of a lookup's flags, whatever the type.
    #[inline]
    pub(super) fn check_lookup(&self, flags: u64) -> Result<(), MapError> {
        if flags & !f::F_LOCK != 0 {
            return Err(MapError::FLAGS);
        }
        self.lock_for(flags, 0).map(|_| ())
    }

    /// `BPF_F_LOCK`: the offset of the lock of the value at `off`; `None`
    /// without the flag, `EINVAL` where the values have no lock.
    #[inline]
    pub(super) fn lock_for(&self, flags: u64, off: u64) -> Result<Option<u64>, MapError> {
        match self.spin_lock {
            _ if flags & f::F_LOCK == 0 => Ok(None),
            Some(lock) => Ok(Some(off + u64::from(lock))),
            None => Err(MapError::invalid(
                "BPF_F_LOCK, but the values have no bpf_spin_lock",
            )),
        }
    }
}

fn copy_bytes(r: &Region, off: u64, value: &[u8], range: core::ops::Range<u64>) {
    for i in range {
        if let Some(b) = value.get(i as usize) {
            r.store_u8(off + i, *b);
        }
    }
}

/// Runs `op` with the lock at `off`, if there is one to take, held.
#[inline]
pub(super) fn locked<T>(
    r: &Region,
    off: Option<u64>,
    op: impl FnOnce() -> T,
) -> Result<T, MapError> {
    let Some(off) = off else { return Ok(op()) };
    if !r.lock(off) {
        return Err(MapError::BUSY);
    }
    let t = op();
    r.unlock(off);
    Ok(t)
}
