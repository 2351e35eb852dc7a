//! Who wakes whom: the order of stores and looks by which neither side sleeps over
//! a message, once for host and guest.
//!
//! Each side publishes and then looks whether the other sleeps, or says that it
//! sleeps and then looks whether something was published; a full fence between the
//! two makes one of both see the other. `tests/handshake.rs` has loom try every
//! order.

use core::sync::atomic::{AtomicU32, Ordering, fence};

/// A word of shared memory; loom has its own.
#[allow(missing_docs)]
pub trait Word {
    fn load(&self, order: Ordering) -> u32;
    fn store(&self, value: u32, order: Ordering);
    /// Sequentially consistent, in whole.
    fn exchange(&self, value: u32) -> u32;
    /// A full fence.
    fn fence();
}

impl Word for AtomicU32 {
    #[inline(always)]
    fn load(&self, order: Ordering) -> u32 {
        Self::load(self, order)
    }
    #[inline(always)]
    fn store(&self, value: u32, order: Ordering) {
        Self::store(self, value, order);
    }
    #[inline(always)]
    fn exchange(&self, value: u32) -> u32 {
        self.swap(value, Ordering::SeqCst)
    }
    #[inline(always)]
    fn fence() {
        fence(Ordering::SeqCst);
    }
}

/// Host: publishes a submission, written before. True if the guest sleeps and must
/// be woken.
#[inline(always)]
pub fn submit<W: Word>(submitted: &W, stamp: u32, guest_asleep: &W) -> bool {
    submitted.store(stamp, Ordering::Release);
    W::fence();
    guest_asleep.load(Ordering::Relaxed) != 0
}

/// Guest: says that it sleeps, then looks once more; false if there is work. Then,
/// and when it was woken, follows [`awake`].
#[inline(always)]
pub fn may_sleep<W: Word>(guest_asleep: &W, work: impl FnOnce() -> bool) -> bool {
    guest_asleep.store(1, Ordering::Relaxed);
    W::fence();
    !work()
}

/// Guest: sleeps no more.
#[inline(always)]
pub fn awake<W: Word>(guest_asleep: &W) {
    guest_asleep.store(0, Ordering::Relaxed);
}

/// Guest: publishes a completion, written before. True if the host sleeps and must
/// be notified, once.
#[inline(always)]
pub fn complete<W: Word>(completed: &W, stamp: u32, host_waiting: &W) -> bool {
    completed.exchange(stamp);
    host_waiting.load(Ordering::SeqCst) != 0 && host_waiting.exchange(0) != 0
}

/// Host: says whether it sleeps until it is notified. After saying yes, it looks
/// once more before it does. It says so again each time it was woken in vain: the
/// notice may be a late one, for the answer before.
#[inline(always)]
pub fn set_waiting<W: Word>(host_waiting: &W, waiting: bool) {
    host_waiting.store(u32::from(waiting), Ordering::Relaxed);
    W::fence();
}
