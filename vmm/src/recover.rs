//! Rebuilding a VM that has died: when, and how often.
//!
//! A thread of its own begins as soon as the VM dies; calls that come meanwhile
//! wait for it. It holds every lane, so no call is under way, and joins the old
//! vCPUs' threads, so nobody writes to shared memory while it is put in order.
//! What is restored, and how, is in [`restore`](crate::restore).

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use bpfvisor_abi::layout;

use crate::boot;
use crate::core::Core;
use crate::fault::{Cause, FaultReport};
use crate::lane::{Lane, Turn};
use crate::restore;
use crate::trace;

/// What becomes of a VM that has died of a fault.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Recovery {
    /// It stays dead.
    #[default]
    None,
    /// It is rebuilt: programs are loaded again, all maps are empty. Contents
    /// that were frozen for programs too, program arrays and maps of maps are
    /// restored, since the host knows them; global data of object files has the
    /// values that it was loaded with.
    EmptyMaps,
    /// It is rebuilt, and maps whose storage is found whole keep their contents.
    KeepMaps,
}

/// How often a VM may be rebuilt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecoveryLimit {
    /// So many attempts ...
    pub attempts: u32,
    /// ... within this time. One more, and the VM stays dead.
    pub window: Duration,
}

impl Default for RecoveryLimit {
    fn default() -> Self {
        Self {
            attempts: 16,
            window: Duration::from_secs(60),
        }
    }
}

/// An object that did not come back as it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loss {
    /// The object's name.
    pub name: String,
    /// What happened.
    pub why: String,
}

/// What came of one rebuilding.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RecoveryReport {
    /// What the VM had died of.
    pub fault: Arc<FaultReport>,
    /// The how manieth rebuilding of this VM it was, from 1.
    pub number: u64,
    /// Programs that were loaded again.
    pub programs: u32,
    /// Maps that kept their contents.
    pub maps_kept: u32,
    /// Maps that the host filled again from what it knows: frozen constants,
    /// program arrays, maps of maps.
    pub maps_refilled: u32,
    /// Maps that are empty now, and why.
    pub maps_emptied: Vec<Loss>,
    /// Global data of objects that has the values again that it was loaded with,
    /// and why.
    pub maps_reset: Vec<Loss>,
    /// Objects that are no more: each use of them is EBADF.
    pub objects_lost: Vec<Loss>,
    /// Records of ring buffers that were reserved and never committed.
    pub records_lost: u64,
    /// From the beginning of the rebuilding to the first possible call.
    pub duration: Duration,
}

impl fmt::Display for RecoveryReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "rebuilt after {}: {} programs loaded again, {} maps kept, {} refilled, {} reset, {} emptied",
            self.fault,
            self.programs,
            self.maps_kept,
            self.maps_refilled,
            self.maps_reset.len(),
            self.maps_emptied.len(),
        )?;
        for loss in &self.objects_lost {
            write!(f, ", {} lost ({})", loss.name, loss.why)?;
        }
        if self.records_lost != 0 {
            write!(f, ", {} records lost", self.records_lost)?;
        }
        write!(f, " ({:.1} ms)", self.duration.as_secs_f64() * 1e3)
    }
}

/// Past rebuildings.
#[derive(Debug, Default)]
pub(crate) struct History {
    /// When attempts were made, within the window.
    attempts: VecDeque<Instant>,
    pub(crate) reports: VecDeque<Arc<RecoveryReport>>,
}

/// Reports that are kept.
const REPORTS: usize = 64;
/// Pause before the second attempt in a window; doubled for each further one.
const BACKOFF: Duration = Duration::from_millis(1);
const BACKOFF_MAX: Duration = Duration::from_millis(500);

impl History {
    /// Notes an attempt; how long to wait before it, or `None` after too many.
    fn attempt(&mut self, limit: RecoveryLimit) -> Option<Duration> {
        let now = Instant::now();
        let old = |t: &Instant| now.duration_since(*t) > limit.window;
        while self.attempts.front().is_some_and(old) {
            self.attempts.pop_front();
        }
        let before = u32::try_from(self.attempts.len()).unwrap_or(u32::MAX);
        if before >= limit.attempts {
            return None;
        }
        self.attempts.push_back(now);
        Some(match before {
            0 => Duration::ZERO,
            n => (BACKOFF * (1 << (n - 1).min(16))).min(BACKOFF_MAX),
        })
    }

    fn keep(&mut self, report: RecoveryReport) {
        if self.reports.len() == REPORTS {
            self.reports.pop_front();
        }
        self.reports.push_back(Arc::new(report));
    }
}

impl Core {
    /// Whether it is rebuilt if it dies (or has died).
    pub(crate) fn is_recoverable(&self) -> bool {
        self.config.recovery != Recovery::None && !self.life.is_over()
    }

    /// Rebuilds it in a thread of its own. Without one, the next call will.
    pub(crate) fn recover_soon(&self) {
        let Some(core) = self.me.upgrade() else {
            return;
        };
        let name = "bpfvisor-rebuild".into();
        let work = move || core.recover();
        let _ = std::thread::Builder::new().name(name).spawn(work);
    }

    /// Rebuilds it, if it is dead and may be; else waits for whoever does. Where that
    /// fails it stays dead, and the next call tries again: a call must not wait for
    /// memory that may never be there.
    pub(crate) fn recover(&self) {
        let mut history = self.history.lock().unwrap_or_else(PoisonError::into_inner);
        while self.is_recoverable()
            && let Some(fault) = self.fault()
        {
            let Some(pause) = history.attempt(self.config.recovery_limit) else {
                self.life.no_more();
                log::error!("VM {}: dead for good, it died too often: {fault}", self.id);
                return;
            };
            self.rest_for(pause);
            self.wait_for_resume();
            match self.rebuild(fault) {
                Ok(report) => {
                    log::warn!("VM {}: {report}", self.id);
                    history.keep(report);
                }
                Err(why) => {
                    log::warn!("VM {}: not rebuilt: {why}", self.id);
                    self.life
                        .end(|| FaultReport::plain(Cause::KvmInternal, 0, why));
                    return;
                }
            }
        }
    }

    /// Sleeps, unless the VM is shut down.
    fn rest_for(&self, pause: Duration) {
        let until = Instant::now() + pause;
        while !self.life.is_over() && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(1).min(pause));
        }
    }

    /// Leaves nothing of the old machine's queues and rings.
    fn clear_queues(&self) {
        let trace = self.trace.lock();
        let mut trace = trace.unwrap_or_else(PoisonError::into_inner);
        *trace = trace::Reader::new(self.config.vcpus);
        self.shared.clear(0, layout::queue_block(self.config.vcpus));
    }

    fn rebuild(&self, fault: Arc<FaultReport>) -> Result<RecoveryReport, String> {
        let begin = Instant::now();
        let me = self.me.upgrade().ok_or("the VM is gone")?;
        let mut turns: Vec<_> = self.lanes.iter().map(Lane::lock).collect();
        self.lanes.iter().for_each(Lane::join);
        self.bury_the_past();
        turns.iter_mut().for_each(|turn| Turn::restart(turn));
        self.lanes.iter().for_each(Lane::restart);
        let objects = self.roll.living();
        self.clear_queues();
        let ready = boot::prepare(&me, restore::kept_indices(&objects));
        let (crew, first) = ready.map_err(|e| e.to_string())?;
        if !self.life.begin() {
            return Err("it was ended meanwhile".into());
        }
        let launched = crew.launch(&me, self.image.entry(), first);
        launched.map_err(|e| e.to_string())?;
        let mut report = RecoveryReport {
            fault,
            number: self.life.number(),
            programs: 0,
            maps_kept: 0,
            maps_refilled: 0,
            maps_emptied: Vec::new(),
            maps_reset: Vec::new(),
            objects_lost: Vec::new(),
            records_lost: 0,
            duration: Duration::ZERO,
        };
        let (lane, turn) = (self.lanes.first(), turns.first_mut());
        let (lane, turn) = lane.zip(turn).ok_or("the VM has no vCPUs")?;
        restore::all(&me, (lane, turn), &objects, &mut report).map_err(|e| e.to_string())?;
        report.duration = begin.elapsed();
        drop(turns);
        // A ring buffer that was emptied does not know who sleeps.
        self.bells.ring_all();
        // What was dropped meanwhile found no lane free.
        drop(objects);
        self.bury();
        Ok(report)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attempts_are_counted_within_the_window_and_paused_between() {
        let mut history = History::default();
        let limit = RecoveryLimit {
            attempts: 3,
            window: Duration::from_millis(200),
        };
        let pauses = [0, 1, 2].map(Duration::from_millis);
        assert_eq!([(); 3].map(|()| history.attempt(limit)), pauses.map(Some));
        assert_eq!(history.attempt(limit), None);
        std::thread::sleep(Duration::from_millis(250));
        assert_eq!(history.attempt(limit), Some(Duration::ZERO));
    }
}
