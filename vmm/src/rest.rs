//! Storage of maps that the guest has let go of, until nobody can be using it.
//!
//! A program that runs on another vCPU may still hold a pointer into a map that
//! was taken from under it (an inner map, or a map of a program that it
//! tail-called): its memory goes to nobody else before that request has ended.

use std::sync::{Mutex, PoisonError};

use crate::alloc::Block;
use crate::core::Core;

/// Storage that waits.
#[derive(Debug, Default)]
pub(crate) struct Rest(Mutex<Vec<Resting>>);

#[derive(Debug)]
struct Resting {
    _storage: Block,
    /// Lanes that had a request under way then, and its number.
    busy: Vec<(usize, u64)>,
}

impl Rest {
    /// Nobody can be using any of it.
    pub(crate) fn clear(&self) {
        let mut resting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let gone = std::mem::take(&mut *resting);
        drop(resting);
        drop(gone);
    }
}

impl Core {
    /// Keeps storage for as long as requests of now are under way. The caller's
    /// own, with which the guest let go, has ended; `lane` is its number.
    pub(crate) fn lay_to_rest(&self, storage: Block, lane: u32) {
        let others = self.lanes.iter().enumerate();
        let busy: Vec<_> = others
            .filter(|(i, l)| *i != lane as usize && l.try_lock().is_none())
            .map(|(i, l)| (i, l.counts().calls))
            .collect();
        if busy.is_empty() {
            return;
        }
        let mut resting = self.rest.0.lock().unwrap_or_else(PoisonError::into_inner);
        let _storage = storage;
        resting.push(Resting { _storage, busy });
    }

    /// Gives back what nobody can be using any more.
    pub(crate) fn rested(&self) {
        let mut resting = self.rest.0.lock().unwrap_or_else(PoisonError::into_inner);
        let gone: Vec<_> = resting.extract_if(.., |r| !self.still_busy(r)).collect();
        drop(resting);
        drop(gone);
    }

    fn still_busy(&self, resting: &Resting) -> bool {
        resting.busy.iter().any(|&(i, call)| {
            let lane = self.lanes.get(i);
            lane.is_some_and(|l| l.counts().calls == call && l.try_lock().is_none())
        })
    }
}
