//! Stopping all vCPUs for a while, whatever they do.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::core::Core;
use crate::lane::Lane;

/// Who wants the VM to stand still, and who does.
#[derive(Debug, Default)]
pub(crate) struct Pause {
    wanted: AtomicU32,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    parked: usize,
    since: Option<Instant>,
    /// Time of all pauses that are over.
    total: Duration,
}

/// Between two attempts to get at a vCPU.
const AGAIN: Duration = Duration::from_millis(1);
/// How long a vCPU stands still without a look at whether the VM lives.
const DOUBT: Duration = Duration::from_millis(100);

impl Pause {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State>, limit: Duration) -> MutexGuard<'a, State> {
        let woken = self.changed.wait_timeout(state, limit);
        woken.unwrap_or_else(PoisonError::into_inner).0
    }

    #[inline]
    pub(crate) fn is_wanted(&self) -> bool {
        self.wanted.load(Ordering::SeqCst) != 0
    }

    /// How long it has stood still in all: time that counts against no budget.
    pub(crate) fn total(&self) -> Duration {
        let state = self.state();
        state.total + state.since.map_or(Duration::ZERO, |since| since.elapsed())
    }
}

impl Core {
    /// Called by a vCPU's thread outside the guest: stands still while it is wanted.
    pub(crate) fn park(&self) {
        let mut state = self.pause.state();
        state.parked += 1;
        self.pause.changed.notify_all();
        while self.pause.is_wanted() && !self.life.is_dead() {
            state = self.pause.wait(state, DOUBT);
        }
        state.parked -= 1;
    }

    /// Waits until nobody wants it to stand still.
    pub(crate) fn wait_for_resume(&self) {
        let mut state = self.pause.state();
        while self.pause.is_wanted() && !self.life.is_over() {
            state = self.pause.wait(state, DOUBT);
        }
    }

    /// Stops all vCPUs; returns when they stand still, or the VM is dead.
    pub(crate) fn pause(&self) {
        let mut state = self.want_pause();
        state.since.get_or_insert_with(Instant::now);
        while state.parked < self.lanes.len() && !self.life.is_dead() {
            for lane in &self.lanes {
                lane.wake.ring();
                Lane::interrupt(lane);
            }
            state = self.pause.wait(state, AGAIN);
        }
    }

    /// Says that it is to stand still. The first to say so waits for whoever is
    /// rebuilding the VM: vCPUs that stood still before all of them have come up
    /// would keep each other waiting.
    fn want_pause(&self) -> MutexGuard<'_, State> {
        let state = self.pause.state();
        if self.pause.wanted.load(Ordering::SeqCst) > 0 {
            self.pause.wanted.fetch_add(1, Ordering::SeqCst);
            return state;
        }
        drop(state);
        let _history = self.history.lock().unwrap_or_else(PoisonError::into_inner);
        let state = self.pause.state();
        self.pause.wanted.fetch_add(1, Ordering::SeqCst);
        state
    }

    /// Takes one [`Core::pause`] back.
    fn resume(&self) {
        let mut state = self.pause.state();
        if self.pause.wanted.fetch_sub(1, Ordering::SeqCst) == 1 {
            let since = state.since.take();
            state.total += since.map_or(Duration::ZERO, |since| since.elapsed());
        }
        self.pause.changed.notify_all();
    }
}

/// A VM that stands still until this is dropped.
#[derive(Debug)]
#[must_use]
pub struct Paused(Arc<Core>);

impl Paused {
    pub(crate) fn new(core: &Arc<Core>) -> Self {
        core.pause();
        Self(Arc::clone(core))
    }
}

impl Drop for Paused {
    fn drop(&mut self) {
        self.0.resume();
    }
}
