//! Bells of ring buffers: how a consumer that sleeps learns of a record.

use std::collections::HashMap;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use crate::core::Core;
use crate::doorbell::Doorbell;

/// Who waits for records of which ring buffer.
#[derive(Debug, Default)]
pub(crate) struct Bells(Mutex<HashMap<u32, Weak<Doorbell>>>);

impl Bells {
    fn table(&self) -> MutexGuard<'_, HashMap<u32, Weak<Doorbell>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Rings for a ring buffer. The guest names it: if nobody waits for such a
    /// one, nothing happens.
    pub(crate) fn ring(&self, handle: u32) {
        if let Some(bell) = self.table().get(&handle).and_then(Weak::upgrade) {
            bell.ring();
        }
    }

    /// Rings all of them: there will be no more records.
    pub(crate) fn ring_all(&self) {
        let bells: Vec<_> = self.table().values().filter_map(Weak::upgrade).collect();
        bells.iter().for_each(|bell| bell.ring());
    }
}

/// The bell of a consumer of one or more ring buffers: a descriptor that becomes
/// readable when a record was committed while the consumer had said that it
/// sleeps.
#[derive(Debug)]
pub struct Bell {
    core: Arc<Core>,
    handles: Vec<u32>,
    door: Arc<Doorbell>,
}

impl Bell {
    /// `None` where one of the ring buffers has a consumer already.
    pub(crate) fn new(core: &Arc<Core>, handles: Vec<u32>) -> std::io::Result<Option<Self>> {
        let door = Arc::new(Doorbell::new()?);
        let mut table = core.bells.table();
        let taken = |handle| table.get(handle).is_some_and(|b| b.strong_count() > 0);
        if handles.iter().any(taken) {
            return Ok(None);
        }
        table.extend(handles.iter().map(|&h| (h, Arc::downgrade(&door))));
        drop(table);
        Ok(Some(Self {
            core: Arc::clone(core),
            handles,
            door,
        }))
    }

    /// One that a daemon gave. It rings for the end of the VM, too.
    pub(crate) fn of_daemon(core: &Arc<Core>, handles: Vec<u32>, door: Doorbell) -> Self {
        let door = Arc::new(door);
        let mut table = core.bells.table();
        table.extend(handles.iter().map(|&h| (h, Arc::downgrade(&door))));
        drop(table);
        Self {
            core: Arc::clone(core),
            handles,
            door,
        }
    }

    /// Sleeps until it rings, for `limit` at most (for ever, without one), or
    /// until a signal arrives.
    pub fn wait(&self, limit: Option<Duration>) {
        self.door.wait(limit);
    }

    /// Takes back all rings so far: the descriptor is not readable any more.
    pub fn clear(&self) {
        self.door.clear();
    }
}

impl AsFd for Bell {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.door.as_fd()
    }
}

impl Drop for Bell {
    fn drop(&mut self) {
        let mut table = self.core.bells.table();
        for handle in &self.handles {
            table.remove(handle);
        }
        drop(table);
        if let (Some(daemon), Some(&first)) = (&self.core.daemon, self.handles.first()) {
            daemon.unbell(first);
        }
    }
}
