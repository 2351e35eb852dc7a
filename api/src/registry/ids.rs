//! Things by number: small numbers that are not used again.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

/// What is alive, by number.
#[derive(Debug)]
pub(crate) struct Ids<T>(Mutex<Numbered<T>>);

#[derive(Debug)]
struct Numbered<T> {
    last: u32,
    items: BTreeMap<u32, Weak<T>>,
}

impl<T> Default for Ids<T> {
    fn default() -> Self {
        Self(Mutex::new(Numbered {
            last: 0,
            items: BTreeMap::new(),
        }))
    }
}

impl<T> Ids<T> {
    fn lock(&self) -> MutexGuard<'_, Numbered<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes something with the next number.
    pub fn add(&self, make: impl FnOnce(u32) -> T) -> Arc<T> {
        let mut ids = self.lock();
        ids.items.retain(|_, item| item.strong_count() > 0);
        ids.last += 1;
        let id = ids.last;
        let item = Arc::new(make(id));
        ids.items.insert(id, Arc::downgrade(&item));
        item
    }

    /// What has this number, if it is alive.
    pub fn get(&self, id: u32) -> Option<Arc<T>> {
        self.lock().items.get(&id)?.upgrade()
    }

    /// The smallest number in use behind `id`.
    pub fn after(&self, id: u32) -> Option<u32> {
        let ids = self.lock();
        let mut behind = ids.items.range(id.checked_add(1)?..);
        behind
            .find(|(_, item)| item.strong_count() > 0)
            .map(|(id, _)| *id)
    }
}
