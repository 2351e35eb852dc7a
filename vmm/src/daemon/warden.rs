//! The watchdog for requests of clients, who can't interrupt a vCPU themselves.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bpfvisor_abi::ring::Phase;

use crate::core::Core;
use crate::doorbell::Doorbell;
use crate::fault::{Cause, FaultReport};
use crate::jail;
use crate::lane::Lane;
use crate::ring;

/// How much longer than its budget a request may take before the VM is given up.
const PATIENCE: Duration = Duration::from_secs(10);
/// Between two looks: a part of the budget, within these.
const LOOKS: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(250));
/// Between two looks while something is overdue.
const PRESSING: Duration = Duration::from_millis(2);

/// A thread that looks at all vCPUs now and then. Ends when dropped.
#[derive(Debug)]
pub(super) struct Warden {
    stop: Arc<Doorbell>,
    thread: Option<JoinHandle<()>>,
}

/// The request that a vCPU was found busy with, and since when.
#[derive(Clone, Copy)]
struct Watched {
    begun: u32,
    since: Instant,
}

impl Warden {
    pub(super) fn start(core: Arc<Core>) -> std::io::Result<Self> {
        let stop = Arc::new(Doorbell::new()?);
        let heard = Arc::clone(&stop);
        let thread = std::thread::Builder::new()
            .name("bpfvisor-warden".into())
            .spawn(move || {
                jail::confine(jail::Role::Warden);
                run(&core, &heard);
            })?;
        Ok(Self {
            stop,
            thread: Some(thread),
        })
    }
}

impl Drop for Warden {
    fn drop(&mut self) {
        self.stop.ring();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn run(core: &Core, stop: &Doorbell) {
    let pause = (core.config.call_timeout / 8).clamp(LOOKS.0, LOOKS.1);
    let mut watched = vec![None; core.lanes.len()];
    let mut pressing = false;
    while core.fault().is_none() && !stop.wait(Some(if pressing { PRESSING } else { pause })) {
        pressing = false;
        for (lane, watched) in core.lanes.iter().zip(&mut watched) {
            pressing |= look(core, lane, watched);
        }
    }
}

/// Cuts short what has taken too long; true while it does.
fn look(core: &Core, lane: &Lane, watched: &mut Option<Watched>) -> bool {
    let doing = lane.home(core).and_then(|home| ring::doing(&home)).ok();
    let busy = doing.is_some_and(|(phase, _)| phase != Phase::Idle as u32);
    // The daemon's own requests, and whatever stands in their way, have a
    // watchdog in their caller.
    let own = lane.try_lock().is_none();
    let begun = doing.map_or(0, |(_, begun)| begun);
    let now = Instant::now();
    let then = match *watched {
        Some(then) if busy && !own && then.begun == begun => then,
        was => {
            if was.is_some() && !own {
                lane.overdue.store(false, Ordering::SeqCst);
                lane.abort.store(false, Ordering::SeqCst);
                tell(core, lane, false);
            }
            *watched = (busy && !own).then_some(Watched { begun, since: now });
            return false;
        }
    };
    let taken = now - then.since;
    if taken < core.config.call_timeout {
        return false;
    }
    if taken > core.config.call_timeout.saturating_add(PATIENCE) {
        let text = "a client's request was not answered and could not be cut short";
        core.die(FaultReport::plain(Cause::Unresponsive, lane.index(), text));
        return false;
    }
    // By now it may have ended, and the next one begun.
    lane.abort_of.store(u64::from(begun) + 1, Ordering::SeqCst);
    lane.overdue.store(true, Ordering::SeqCst);
    lane.abort.store(true, Ordering::SeqCst);
    tell(core, lane, true);
    lane.interrupt();
    true
}

/// Tells the runtime whether time is up: a helper may be waiting.
fn tell(core: &Core, lane: &Lane, overdue: bool) {
    // The block lies inside shared memory by construction.
    let _ = (lane.home(core)).and_then(|home| ring::set_overdue(&home, overdue));
}
