//! Room in the shared slot.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bpfvisor_abi::layout::{self, LOW_SHARED, REGION};

use crate::daemon::Link;
use crate::free_list::{End, FreeList};
use crate::shared::SharedMemory;

/// From this length on, freed memory is given back to the host instead of being
/// overwritten with zeroes.
const GIVE_BACK: u64 = 1 << 20;
/// Every block starts and ends on a cache line of its own.
const LINE: u64 = 64;
/// What a client gets from its daemon at a time, at least.
const LEASE: u64 = 256 << 10;

/// The free parts of a shared slot. What is free is zero (if the guest is
/// honest), so that a new block is.
#[derive(Debug)]
pub(crate) struct Arena {
    shared: Arc<SharedMemory>,
    free: Mutex<FreeList>,
    /// Where a client gets more from.
    daemon: Option<Arc<Link>>,
}

impl Arena {
    /// All memory behind this many queue blocks.
    pub(crate) fn new(shared: Arc<SharedMemory>, queue_blocks: u32) -> Self {
        let free = FreeList::new(layout::dynamic(queue_blocks)..shared.len());
        Self {
            shared,
            free: Mutex::new(free),
            daemon: None,
        }
    }

    /// A client's: empty, until it gets something from its daemon.
    pub(crate) fn of_client(shared: Arc<SharedMemory>, daemon: Arc<Link>) -> Self {
        Self {
            shared,
            free: Mutex::default(),
            daemon: Some(daemon),
        }
    }

    fn free(&self) -> MutexGuard<'_, FreeList> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A block anywhere, from the top, where packets can't go. Large ones begin
    /// with a region, for the sake of huge pages.
    pub(crate) fn alloc(self: &Arc<Self>, len: u64, align: u64) -> Option<Block> {
        let whole = (len >= REGION).then(|| self.take(len, align.max(REGION), End::Top));
        whole.flatten().or_else(|| self.take(len, align, End::Top))
    }

    /// A block that a packet's 32-bit pointers reach.
    pub(crate) fn alloc_low(self: &Arc<Self>, len: u64, align: u64) -> Option<Block> {
        self.take(len, align, End::Bottom { limit: LOW_SHARED })
    }

    fn take(self: &Arc<Self>, len: u64, align: u64, end: End) -> Option<Block> {
        let room = len.max(1).checked_next_multiple_of(LINE)?;
        let align = align.max(LINE);
        let taken = self.free().take(room, align, end);
        let offset = taken.or_else(|| {
            self.grow(room, align, end)?;
            self.free().take(room, align, end)
        })?;
        Some(Block {
            arena: Arc::clone(self),
            offset,
            len,
            room,
            lent: false,
        })
    }

    /// Gets more from the daemon.
    fn grow(&self, room: u64, align: u64, end: End) -> Option<()> {
        let daemon = self.daemon.as_ref()?;
        let len = room.checked_add(align)?.max(LEASE);
        let low = matches!(end, End::Bottom { .. });
        let (offset, len) = daemon
            .lease(len.checked_next_multiple_of(4096)?, low)
            .ok()?;
        let end = offset
            .checked_add(len)
            .filter(|&e| e <= self.shared.len())?;
        self.free().add(offset..end);
        Some(())
    }

    /// A range that somebody else answers for.
    pub(crate) fn lent(self: &Arc<Self>, offset: u64, len: u64) -> Block {
        Block {
            arena: Arc::clone(self),
            offset,
            len,
            room: len,
            lent: true,
        }
    }

    /// Bytes given out.
    pub(crate) fn used(&self) -> u64 {
        self.free().used()
    }
}

/// A piece of shared memory, freed when dropped. It was zeroed when it was given.
#[derive(Debug)]
pub struct Block {
    arena: Arc<Arena>,
    offset: u64,
    len: u64,
    room: u64,
    /// Not to be freed here.
    lent: bool,
}

impl Block {
    /// Offset in the shared slot.
    #[inline]
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Length in bytes.
    #[inline]
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Takes the first `len` bytes from the host now, which spares the guest the
    /// cost of touching them first: in huge pages, if that is a region or more and
    /// the host can.
    pub fn populate(&self, len: u64) {
        let (shared, len) = (&self.arena.shared, len.min(self.len));
        if len < REGION || !shared.populate_huge(self.offset, len) {
            shared.populate(self.offset, len.min(REGION));
        }
    }

    /// Zeroes it.
    pub(crate) fn clear(&self) {
        let give_back = self.room >= GIVE_BACK;
        if !(give_back && self.arena.shared.give_back(self.offset, self.room)) {
            self.arena.shared.clear(self.offset, self.room);
        }
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        if !self.lent {
            self.clear();
            self.arena.free().give(self.offset..self.offset + self.room);
        }
    }
}
