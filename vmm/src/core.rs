//! What the parts of a VM share: memory, lanes, and whether it still lives.
//!
//! It outlives the VM itself for as long as objects refer to it, so that readers
//! of shared memory never lose the ground under their feet.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::time::Duration;

use bpfvisor_abi::ring::Completion;

use crate::alloc::Arena;
use crate::bell::Bells;
use crate::config::Config;
use crate::error::CallError;
use crate::fault::{Cause, FaultReport};
use crate::lane::{Lane, Turn};
use crate::object::Grave;
use crate::programs::Programs;
use crate::rest::Rest;
use crate::shared::SharedMemory;

#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) id: u64,
    pub(crate) config: Config,
    pub(crate) shared: Arc<SharedMemory>,
    pub(crate) arena: Arc<Arena>,
    pub(crate) lanes: Vec<Lane>,
    /// Of ring buffers with a consumer.
    pub(crate) bells: Bells,
    pub(crate) objects: AtomicU64,
    pub(crate) programs: Programs,
    pub(crate) graves: Mutex<Vec<Grave>>,
    /// There are graves. Looked at by whoever gives a lane back.
    pub(crate) unburied: AtomicBool,
    pub(crate) rest: Rest,
    death: OnceLock<Arc<FaultReport>>,
    next_lane: AtomicU32,
}

impl Core {
    pub(crate) fn new(config: Config, shared: Arc<SharedMemory>) -> std::io::Result<Self> {
        static NEXT_ID: AtomicU64 = AtomicU64::new(1);
        let lanes = (0..config.vcpus).map(Lane::new).collect::<Result<_, _>>()?;
        Ok(Self {
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            arena: Arc::new(Arena::new(Arc::clone(&shared), config.vcpus)),
            config,
            shared,
            lanes,
            bells: Bells::default(),
            objects: AtomicU64::new(0),
            programs: Programs::default(),
            graves: Mutex::default(),
            unburied: AtomicBool::new(false),
            rest: Rest::default(),
            death: OnceLock::new(),
            next_lane: AtomicU32::new(0),
        })
    }

    /// Why it died, if it did.
    #[inline]
    pub(crate) fn fault(&self) -> Option<&Arc<FaultReport>> {
        self.death.get()
    }

    #[inline]
    pub(crate) fn check_alive(&self) -> Result<(), CallError> {
        match self.death.get() {
            None => Ok(()),
            Some(report) => Err(CallError::Dead(Arc::clone(report))),
        }
    }

    /// Declares the VM dead; the first report stands. Stops all vCPUs and wakes
    /// all callers.
    #[cold]
    pub(crate) fn die(&self, report: FaultReport) -> CallError {
        let report = Arc::clone(self.death.get_or_init(|| Arc::new(self.blame(report))));
        for lane in &self.lanes {
            lane.done.ring();
            lane.wake.ring();
            lane.interrupt();
        }
        self.bells.ring_all();
        CallError::Dead(report)
    }

    /// Adds program and instruction to a report.
    fn blame(&self, mut report: FaultReport) -> FaultReport {
        let lane = self.lanes.get(report.vcpu as usize);
        let last = lane.and_then(Lane::last_program);
        let blamed = last.and_then(|last| self.programs.blame(report.registers.rip, last));
        if let (Some((name, insn)), true) = (blamed, report.cause != Cause::Shutdown) {
            (report.program, report.insn) = (Some(name), insn);
        }
        report
    }

    /// A free lane, the first if possible so that the other vCPUs may sleep; or
    /// else a turn at waiting for one.
    #[inline]
    pub(crate) fn lane(&self) -> Result<(&Lane, MutexGuard<'_, Turn>), CallError> {
        if let Some(free) = self.free_lane() {
            return Ok(free);
        }
        let nth = self.next_lane.fetch_add(1, Ordering::Relaxed) as usize;
        let lane = self.lanes.get(nth % self.lanes.len().max(1));
        let lane = lane.ok_or(CallError::Invalid("the VM has no vCPUs"))?;
        Ok((lane, lane.lock()))
    }

    #[inline]
    pub(crate) fn free_lane(&self) -> Option<(&Lane, MutexGuard<'_, Turn>)> {
        self.lanes
            .iter()
            .find_map(|lane| Some((lane, lane.try_lock()?)))
    }

    /// Runs one request on a free vCPU. The answer's status may be an errno.
    #[inline]
    pub(crate) fn call(
        &self,
        op: u32,
        arg: &[u64; 7],
        budget: Duration,
    ) -> Result<Completion, CallError> {
        self.with_lane(|lane, turn| lane.call(self, turn, (op, arg), budget))
    }

    /// Runs `work` with a lane, then buries what was dropped meanwhile.
    #[inline]
    pub(crate) fn with_lane<T>(
        &self,
        work: impl FnOnce(&Lane, &mut Turn) -> Result<T, CallError>,
    ) -> Result<T, CallError> {
        let (lane, mut turn) = self.lane()?;
        let result = work(lane, &mut turn);
        drop(turn);
        if self.unburied.load(Ordering::SeqCst) {
            self.bury();
        }
        result
    }
}
