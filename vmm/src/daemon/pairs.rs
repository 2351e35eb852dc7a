//! Ring pairs: who has which, and whom the guest may wake.

use std::collections::{HashMap, VecDeque};
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, PoisonError};

use bpfvisor_abi::layout::pair_block;
use bpfvisor_abi::op::code;

use crate::core::Core;
use crate::doorbell::Doorbell;
use crate::error::CallError;
use crate::ring;

/// The doorbells of all clients, by ring pair and vCPU.
#[derive(Debug, Default)]
pub(crate) struct Callers(Mutex<HashMap<u32, Arc<[Doorbell]>>>);

impl Callers {
    fn get(&self, pair: u32) -> Option<Arc<[Doorbell]>> {
        let table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        table.get(&pair).cloned()
    }

    fn set(&self, pair: u32, doors: Option<Arc<[Doorbell]>>) {
        let mut table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match doors {
            Some(doors) => table.insert(pair, doors),
            None => table.remove(&pair),
        };
    }

    /// Wakes a client. The guest names it: if there is none, nothing happens.
    pub(crate) fn ring(&self, pair: u32, vcpu: u32) {
        let doors = self.get(pair);
        if let Some(door) = doors.as_ref().and_then(|d| d.get(vcpu as usize)) {
            door.ring();
        }
    }
}

/// The pairs that nobody has, the longest unused first.
#[derive(Debug)]
pub(super) struct Pairs {
    free: VecDeque<u32>,
    active: u64,
}

impl Pairs {
    pub(super) fn new(clients: u32) -> Self {
        Self {
            free: (1..=clients).collect(),
            active: 0,
        }
    }
}

/// A ring pair on every vCPU, given back when dropped.
#[derive(Debug)]
pub(super) struct Pair {
    core: Arc<Core>,
    pairs: Arc<Mutex<Pairs>>,
    number: u32,
    doors: Arc<[Doorbell]>,
}

impl Pair {
    /// Takes one; `None` if there is none.
    pub(super) fn take(
        core: &Arc<Core>,
        pairs: &Arc<Mutex<Pairs>>,
    ) -> Result<Option<Self>, CallError> {
        let doors = (0..core.config.vcpus).map(|_| Doorbell::new());
        let doors = doors.collect::<Result<Arc<[_]>, _>>();
        let doors = doors.map_err(|e| CallError::Os {
            step: "create an eventfd",
            errno: e.raw_os_error().unwrap_or(libc::EIO),
        })?;
        let mut table = pairs.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(number) = table.free.pop_front() else {
            return Ok(None);
        };
        drop(table);
        let pair = Self {
            core: Arc::clone(core),
            pairs: Arc::clone(pairs),
            number,
            doors,
        };
        pair.open()?;
        Ok(Some(pair))
    }

    pub(super) fn number(&self) -> u32 {
        self.number
    }

    /// The client's bells, by vCPU.
    pub(super) fn doors(&self) -> impl Iterator<Item = std::os::fd::BorrowedFd<'_>> {
        self.doors.iter().map(Doorbell::as_fd)
    }

    fn open(&self) -> Result<(), CallError> {
        // What lies at its beginning is all that is used.
        const USED: u64 = bpfvisor_abi::ring::block::MESSAGE;
        for vcpu in 0..self.core.config.vcpus {
            let at = pair_block(self.core.config.vcpus, vcpu, self.number);
            self.core.shared.populate(at, USED);
        }
        self.reset()?;
        let doors = Some(Arc::clone(&self.doors));
        self.core.callers.set(self.number, doors);
        self.activate(true)
    }

    /// Has each vCPU begin anew with it, once whatever it does is done.
    fn reset(&self) -> Result<(), CallError> {
        let arg = [u64::from(self.number), 0, 0, 0, 0, 0, 0];
        for lane in &self.core.lanes {
            let mut turn = lane.lock();
            let request = (code::PAIR_RESET, &arg);
            let timeout = self.core.config.call_timeout;
            let answer = lane.call(&self.core, &mut turn, request, timeout);
            drop(turn);
            self.core.bury();
            crate::lane::succeeded(answer?)?;
        }
        Ok(())
    }

    fn activate(&self, yes: bool) -> Result<(), CallError> {
        let mut table = self.pairs.lock().unwrap_or_else(PoisonError::into_inner);
        let bit = 1u64.checked_shl(self.number).unwrap_or(0);
        table.active = if yes {
            table.active | bit
        } else {
            table.active & !bit
        };
        for lane in &self.core.lanes {
            lane.home(&self.core)
                .and_then(|home| ring::set_active(&home, table.active))
                .map_err(|_| CallError::Invalid("a queue lies outside shared memory"))?;
            lane.wake.ring();
        }
        Ok(())
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        // They only fail for a dead VM.
        let _ = self.activate(false);
        let _ = self.reset();
        self.core.callers.set(self.number, None);
        let mut table = self.pairs.lock().unwrap_or_else(PoisonError::into_inner);
        table.free.push_back(self.number);
    }
}
