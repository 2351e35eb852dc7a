//! Storage of maps that the guest has let go of, until nobody can be using it.
//!
//! A program that runs on another vCPU may still hold a pointer into a map that
//! was taken from under it (an inner map, or a map of a program that it
//! tail-called): its memory goes to nobody else before that request has ended.

use std::sync::{Mutex, PoisonError};

use bpfvisor_abi::ring::Phase;

use crate::alloc::Block;
use crate::core::Core;
use crate::ring;

/// Storage that waits.
#[derive(Debug, Default)]
pub(crate) struct Rest(Mutex<Vec<Resting>>);

#[derive(Debug)]
struct Resting {
    _storage: Block,
    busy: Vec<Busy>,
}

/// A vCPU that had a request under way then, and the request's number.
#[derive(Debug)]
enum Busy {
    /// One of this process, by the lane's count.
    Own(usize, u64),
    /// One of a daemon's clients, by the guest's count.
    Client(usize, u32),
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
        let others = (0..self.lanes.len()).filter(|&i| i != lane as usize);
        let busy: Vec<_> = others.filter_map(|i| self.busy(i)).collect();
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
        resting.busy.iter().any(|then| match *then {
            Busy::Own(i, call) => self.own_request(i) == Some(call),
            Busy::Client(i, begun) => self.client_request(i) == Some(begun),
        })
    }

    fn busy(&self, lane: usize) -> Option<Busy> {
        let own = self.own_request(lane).map(|call| Busy::Own(lane, call));
        own.or_else(|| Some(Busy::Client(lane, self.client_request(lane)?)))
    }

    fn own_request(&self, lane: usize) -> Option<u64> {
        let lane = self.lanes.get(lane)?;
        lane.try_lock().is_none().then(|| lane.counts().calls)
    }

    /// What the guest says: a lie costs nobody but the VM itself.
    fn client_request(&self, lane: usize) -> Option<u32> {
        if self.config.clients == 0 {
            return None;
        }
        let home = self.lanes.get(lane)?.home(self).ok()?;
        let (phase, begun) = ring::doing(&home).ok()?;
        (phase != Phase::Idle as u32).then_some(begun)
    }
}
