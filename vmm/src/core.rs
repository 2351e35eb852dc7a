//! What the parts of a VM share: memory, lanes, and whether it still lives.
//!
//! It outlives the VM itself for as long as objects refer to it, so that readers
//! of shared memory never lose the ground under their feet.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, Weak};
use std::time::Duration;

use bpfvisor_abi::ring::Completion;

use crate::alloc::{Arena, Block};
use crate::bell::Bells;
use crate::config::Config;
use crate::daemon::{Callers, Link};
use crate::doorbell::Doorbell;
use crate::error::CallError;
use crate::fault::{Cause, FaultReport};
use crate::image::Image;
use crate::lane::{Lane, Turn, succeeded};
use crate::life::Life;
use crate::object::Grave;
use crate::pause::Pause;
use crate::programs::Programs;
use crate::recover::History;
use crate::rest::Rest;
use crate::roll::Roll;
use crate::shared::SharedMemory;
use crate::trace;

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
    /// The daemon in whose process the VM is, if not in this one.
    pub(crate) daemon: Option<Arc<Link>>,
    /// Of a daemon: its clients' doorbells.
    pub(crate) callers: Callers,
    /// Rung at the end, if somebody has asked for that.
    pub(crate) end: OnceLock<Doorbell>,
    pub(crate) life: Life,
    pub(crate) pause: Pause,
    /// Held while the rings are read, or overwritten for another machine.
    pub(crate) trace: Mutex<trace::Reader>,
    /// Held by whoever rebuilds it.
    pub(crate) history: Mutex<History>,
    /// What is needed to rebuild it.
    pub(crate) roll: Roll,
    pub(crate) image: Image,
    pub(crate) me: Weak<Core>,
    #[cfg(any(test, fuzzing))]
    pub(crate) player: crate::player::Guest,
    next_lane: AtomicU32,
}

impl Core {
    pub(crate) fn new(
        config: Config,
        image: Image,
        shared: Arc<SharedMemory>,
    ) -> std::io::Result<Arc<Self>> {
        let lanes = (0..config.vcpus).map(Lane::new).collect::<Result<_, _>>()?;
        let arena = Arena::new(Arc::clone(&shared), config.queue_blocks());
        Ok(Self::with((config, image), (shared, arena), lanes, None))
    }

    /// Of a client: a VM that a daemon runs, and the lanes that it gave.
    pub(crate) fn of_client(
        (config, image): (Config, Image),
        shared: Arc<SharedMemory>,
        lanes: Vec<Lane>,
        daemon: Arc<Link>,
    ) -> Arc<Self> {
        let arena = Arena::of_client(Arc::clone(&shared), Arc::clone(&daemon));
        Self::with((config, image), (shared, arena), lanes, Some(daemon))
    }

    fn with(
        (config, image): (Config, Image),
        (shared, arena): (Arc<SharedMemory>, Arena),
        lanes: Vec<Lane>,
        daemon: Option<Arc<Link>>,
    ) -> Arc<Self> {
        static NEXT_ID: AtomicU64 = AtomicU64::new(1);
        Arc::new_cyclic(|me| Self {
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            arena: Arc::new(arena),
            trace: Mutex::new(trace::Reader::new(config.vcpus)),
            config,
            shared,
            lanes,
            bells: Bells::default(),
            objects: AtomicU64::new(0),
            programs: Programs::default(),
            graves: Mutex::default(),
            unburied: AtomicBool::new(false),
            rest: Rest::default(),
            daemon,
            callers: Callers::default(),
            end: OnceLock::new(),
            life: Life::default(),
            pause: Pause::default(),
            history: Mutex::default(),
            roll: Roll::default(),
            image,
            me: Weak::clone(me),
            #[cfg(any(test, fuzzing))]
            player: crate::player::Guest::default(),
            next_lane: AtomicU32::new(0),
        })
    }

    /// Why it died, if it did.
    pub(crate) fn fault(&self) -> Option<Arc<FaultReport>> {
        self.life.fault()
    }

    /// For a call that was not sent yet.
    #[inline]
    pub(crate) fn check_alive(&self) -> Result<(), CallError> {
        self.check_alive_under(None)
    }

    /// For a call that is under way on a vCPU. Whoever holds its lane keeps the VM
    /// from being rebuilt, so that no death goes unnoticed.
    #[inline]
    pub(crate) fn check_alive_under(&self, vcpu: Option<u32>) -> Result<(), CallError> {
        if self.life.is_dead() {
            return Err(self.ended(vcpu));
        }
        Ok(())
    }

    /// What a call is told whose VM has died.
    #[cold]
    fn ended(&self, vcpu: Option<u32>) -> CallError {
        let gone = || Arc::new(FaultReport::plain(Cause::Shutdown, 0, ""));
        let report = self.fault().unwrap_or_else(gone);
        if !self.is_recoverable() {
            CallError::Dead(report)
        } else if vcpu == Some(report.vcpu) {
            CallError::Failed(report)
        } else {
            CallError::Lost(report)
        }
    }

    /// Declares the VM dead; the first report stands. Stops all vCPUs and wakes
    /// all callers. Gives what the call on the report's vCPU is told.
    #[cold]
    pub(crate) fn die(&self, report: FaultReport) -> CallError {
        let vcpu = report.vcpu;
        let (_, new) = self.life.end(|| self.blame(report));
        for lane in &self.lanes {
            lane.done.ring();
            lane.wake.ring();
            lane.interrupt();
        }
        self.bells.ring_all();
        if new && self.is_recoverable() {
            self.recover_soon();
        } else if let Some(end) = self.end.get() {
            end.ring();
        }
        self.ended(Some(vcpu))
    }

    /// Adds program and instruction to a report.
    fn blame(&self, mut report: FaultReport) -> FaultReport {
        let lane = self.lanes.get(report.vcpu as usize);
        let last = lane.and_then(Lane::last_program);
        let blamed = last.and_then(|last| self.programs.blame(report.registers.rip, last));
        if let (Some((name, insn)), true) = (
            blamed,
            !matches!(report.cause, Cause::Shutdown | Cause::Killed),
        ) {
            (report.program, report.insn) = (Some(name), insn);
        }
        report
    }

    /// A zeroed block of shared memory.
    pub(crate) fn alloc(&self, len: u64, align: u64) -> Result<Block, CallError> {
        let block = self.arena.alloc(len, align).or_else(|| {
            self.rested();
            self.arena.alloc(len, align)
        });
        block.ok_or(CallError::NoMemory { wanted: len })
    }

    /// Sends a request whose status must be 0.
    pub(crate) fn demand(&self, op: u32, arg: &[u64; 7]) -> Result<Completion, CallError> {
        self.call(op, arg, self.config.call_timeout)
            .and_then(succeeded)
    }

    /// A handle, as the guest answers it.
    pub(crate) fn handle(&self, word: u64) -> Result<u32, CallError> {
        u32::try_from(word).map_err(|_| {
            let text = "a handle has more than 32 bits";
            self.die(FaultReport::plain(Cause::Protocol, 0, text))
        })
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
    pub(crate) fn with_lane<T, E: From<CallError>>(
        &self,
        work: impl FnOnce(&Lane, &mut Turn) -> Result<T, E>,
    ) -> Result<T, E> {
        if self.life.is_dead() && self.is_recoverable() {
            self.recover();
        }
        let (lane, mut turn) = self.lane()?;
        let result = work(lane, &mut turn);
        drop(turn);
        if self.unburied.load(Ordering::SeqCst) {
            self.bury();
        }
        result
    }
}
