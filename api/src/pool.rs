//! VMs kept ready, for services that need one in microseconds.

use crate::error::{HostError, Result};
use crate::vm::{Vm, VmBuilder};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

/// Booted VMs in reserve, all with the same settings. A thread of its own boots
/// what is taken anew.
///
/// Booting takes a millisecond and more, nearly all of it in KVM; taking a VM from
/// here takes microseconds. A VM in reserve costs its memory in use (a few MiB) and
/// no processor time, since its vCPUs sleep. What was taken belongs to the taker
/// alone and never comes back.
///
/// ```no_run
/// # fn main() -> bpfvisor::Result<()> {
/// let pool = bpfvisor::Vm::builder().memory(64 << 20).pool(4)?;
/// let tenant = pool.take()?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct VmPool {
    shelf: Arc<Shelf>,
    filler: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shelf {
    builder: VmBuilder,
    wanted: usize,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    ready: Vec<Vm>,
    /// Booting failed; it is tried again when somebody takes a VM.
    failed: bool,
    closed: bool,
}

/// How long the thread that boots lets whoever took a VM go on first: on few
/// cores booting would be in the taker's way.
const STAND_BACK: Duration = Duration::from_millis(1);

impl VmPool {
    /// As [`VmBuilder::pool`].
    pub(crate) fn new(builder: VmBuilder, wanted: usize) -> Result<Self> {
        let first = builder.clone().boot()?;
        let shelf = Arc::new(Shelf {
            builder,
            wanted,
            state: Mutex::new(State {
                ready: Vec::from_iter((wanted > 0).then_some(first)),
                failed: false,
                closed: false,
            }),
            changed: Condvar::new(),
        });
        let filled = Arc::clone(&shelf);
        let filler = Builder::new()
            .name("bpfvisor-pool".into())
            .spawn(move || filled.fill())
            .map_err(|e| HostError::Os {
                what: "cannot start the thread of a pool".into(),
                errno: e.raw_os_error().unwrap_or(libc::EAGAIN),
            })?;
        Ok(Self {
            shelf,
            filler: Some(filler),
        })
    }

    /// A VM that nobody else has: from the reserve, or booted now where that is
    /// empty.
    ///
    /// # Errors
    /// As [`VmBuilder::boot`], where the reserve is empty.
    pub fn take(&self) -> Result<Vm> {
        let taken = {
            let mut state = self.shelf.lock();
            state.failed = false;
            let at = state.ready.iter().position(Vm::is_alive);
            at.map(|at| state.ready.swap_remove(at))
        };
        self.shelf.changed.notify_all();
        match taken {
            Some(vm) => Ok(vm),
            None => self.shelf.builder.clone().boot(),
        }
    }

    /// How many VMs are ready now.
    pub fn ready(&self) -> usize {
        self.shelf.lock().ready.len()
    }
}

impl Drop for VmPool {
    fn drop(&mut self) {
        self.shelf.lock().closed = true;
        self.shelf.changed.notify_all();
        if let Some(filler) = self.filler.take() {
            let _ = filler.join();
        }
    }
}

impl Shelf {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Boots VMs until the pool is dropped.
    fn fill(&self) {
        let mut state = self.lock();
        while !state.closed {
            if state.failed || state.ready.len() >= self.wanted {
                drop(self.changed.wait(state));
                std::thread::sleep(STAND_BACK);
                state = self.lock();
                continue;
            }
            drop(state);
            let booted = self.builder.clone().boot();
            state = self.lock();
            match booted {
                Ok(vm) => state.ready.push(vm),
                Err(_) => state.failed = true,
            }
        }
    }
}
