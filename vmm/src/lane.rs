//! A vCPU as its callers see it: one request at a time, spin, then sleep, then
//! cut it short.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::{Duration, Instant};

use bpfvisor_abi::layout::{QUEUE_BLOCK, pair_block, queue_block};
use bpfvisor_abi::op::code;
use bpfvisor_abi::ring::Completion;
use vm_memory::{VolatileMemoryError, VolatileSlice};
use vmm_sys_util::signal::Killable;

use crate::alloc::Block;
use crate::core::Core;
use crate::doorbell::Doorbell;
use crate::error::CallError;
use crate::fault::{Cause, FaultReport};
use crate::ring::{self, Look};
use crate::signal;

/// Between two attempts to cut a program short.
const KICK_INTERVAL: Duration = Duration::from_millis(1);
/// Attempts before the VM is given up. A kick meets the runtime rather than the
/// program now and then, and a busy host may be slow to run the vCPU at all.
const KICKS: u32 = if cfg!(test) { 400 } else { 3_000 };

/// How long a caller or a vCPU sleeps on should the guest have told lies about
/// who is to be woken.
const DOUBT: Duration = Duration::from_millis(100);
/// Longest budget, so that times can be computed with.
const FOR_EVER: Duration = Duration::from_secs(1 << 32);

/// How much longer a client waits: others may be served before it.
const REMOTE_PATIENCE: Duration = Duration::from_secs(if cfg!(test) { 5 } else { 120 });

/// No handle: those have 32 bits.
const NO_PROGRAM: u64 = u64::MAX;

/// One vCPU's queue, bells and thread.
#[derive(Debug)]
pub(crate) struct Lane {
    vcpu: u32,
    /// Offset of the queue block with its rings.
    rings: u64,
    turn: Mutex<Turn>,
    /// Rung to let a sleeping vCPU run.
    pub(crate) wake: Doorbell,
    /// Rung when an answer was posted for a sleeping caller.
    pub(crate) done: Doorbell,
    /// Set to have the running program cut short, taken by the vCPU's thread.
    pub(crate) abort: AtomicBool,
    /// The request that this is about, as the vCPU counts them, and 1; 0 is whichever
    /// runs. Its caller knows that it is under way; a watchdog may be late.
    pub(crate) abort_of: AtomicU64,
    /// Set for as long as somebody waits for that.
    pub(crate) overdue: AtomicBool,
    pub(crate) exits: AtomicU64,
    waits: AtomicU64,
    wakes: AtomicU64,
    timeouts: AtomicU64,
    calls: AtomicU64,
    /// Handle of the program that was asked for last, or [`NO_PROGRAM`].
    program: AtomicU64,
    thread: Mutex<Option<std::thread::JoinHandle<()>>>,
}

/// The right to use a lane, and what belongs to whoever holds it.
#[derive(Debug, Default)]
pub(crate) struct Turn {
    /// Number of the next submission.
    next: u64,
    /// Submissions in earlier lives.
    before: u64,
    /// Room for the packets of a batch.
    pub(crate) packets: Option<Block>,
}

/// Counters of a lane.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    pub(crate) calls: u64,
    pub(crate) exits: u64,
    pub(crate) waits: u64,
    pub(crate) wakes: u64,
    pub(crate) timeouts: u64,
}

impl Turn {
    /// Submissions are counted from 0 again, for a new guest.
    pub(crate) fn restart(&mut self) {
        self.before += std::mem::take(&mut self.next);
    }
}

fn own<T>(result: Result<T, PoisonError<T>>) -> T {
    result.unwrap_or_else(PoisonError::into_inner)
}

impl Lane {
    pub(crate) fn new(vcpu: u32) -> std::io::Result<Self> {
        let bells = (Doorbell::new()?, Doorbell::new()?);
        Ok(Self::with(vcpu, queue_block(vcpu), bells))
    }

    /// The lane of a daemon's client, whose ring pair is `pair`, with the vCPU's
    /// bell and its own.
    pub(crate) fn of_client(
        (vcpus, vcpu): (u32, u32),
        pair: u32,
        bells: (Doorbell, Doorbell),
    ) -> Self {
        Self::with(vcpu, pair_block(vcpus, vcpu, pair), bells)
    }

    fn with(vcpu: u32, rings: u64, (wake, done): (Doorbell, Doorbell)) -> Self {
        Self {
            vcpu,
            rings,
            turn: Mutex::default(),
            wake,
            done,
            abort: AtomicBool::new(false),
            abort_of: AtomicU64::new(0),
            overdue: AtomicBool::new(false),
            exits: AtomicU64::new(0),
            waits: AtomicU64::new(0),
            wakes: AtomicU64::new(0),
            timeouts: AtomicU64::new(0),
            calls: AtomicU64::new(0),
            program: AtomicU64::new(NO_PROGRAM),
            thread: Mutex::new(None),
        }
    }

    /// Its number, which is its vCPU's.
    pub(crate) fn index(&self) -> u32 {
        self.vcpu
    }

    /// Waits for the lane.
    pub(crate) fn lock(&self) -> MutexGuard<'_, Turn> {
        own(self.turn.lock())
    }

    /// Takes the lane if it is free.
    #[inline]
    pub(crate) fn try_lock(&self) -> Option<MutexGuard<'_, Turn>> {
        match self.turn.try_lock() {
            Ok(turn) => Some(turn),
            Err(TryLockError::Poisoned(turn)) => Some(turn.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    fn queue<'a>(&self, core: &'a Core) -> Result<VolatileSlice<'a>, VolatileMemoryError> {
        block(core, self.rings)
    }

    /// The queue block of the vCPU itself.
    pub(crate) fn home<'a>(
        &self,
        core: &'a Core,
    ) -> Result<VolatileSlice<'a>, VolatileMemoryError> {
        block(core, queue_block(self.vcpu))
    }

    /// Sends one request and waits for its answer, whose status may be an errno;
    /// `budget` is the time it may take once the caller has stopped spinning.
    #[inline]
    pub(crate) fn call(
        &self,
        core: &Core,
        turn: &mut Turn,
        (op, arg): (u32, &[u64; 7]),
        budget: Duration,
    ) -> Result<Completion, CallError> {
        core.check_alive()?;
        let queue = self.queue(core).map_err(outside)?;
        let home = self.home(core).map_err(outside)?;
        let n = turn.next;
        turn.next += 1;
        let program = match op {
            code::RUN | code::RUN_BATCH => arg[0] & u64::from(u32::MAX),
            _ => NO_PROGRAM,
        };
        self.program.store(program, Ordering::Relaxed);
        if ring::submit(&queue, &home, n, op, arg).map_err(outside)? {
            self.wakes.fetch_add(1, Ordering::Relaxed);
            self.wake.ring();
        }
        #[cfg(any(test, fuzzing))]
        core.player.plays(core, self.vcpu, n, arg);
        self.calls.store(turn.before + turn.next, Ordering::Relaxed);
        for _ in 0..core.config.client_spins {
            if let Some(answer) = self.look(core, &queue, n)? {
                return self.checked(core, answer);
            }
            std::hint::spin_loop();
        }
        let answer = self.sleep(core, &queue, n, budget)?;
        self.checked(core, answer)
    }

    #[inline]
    fn look(
        &self,
        core: &Core,
        queue: &VolatileSlice<'_>,
        n: u64,
    ) -> Result<Option<Completion>, CallError> {
        match ring::look(queue, n).map_err(outside)? {
            Look::Pending => Ok(None),
            Look::Answered(answer) => Ok(Some(answer)),
            Look::Corrupt { stamp } => {
                let text = format!("completion {n} has the stamp {stamp:#x}");
                Err(core.die(FaultReport::plain(Cause::Protocol, self.vcpu, text)))
            }
        }
    }

    /// Sleeps until answered; past the budget, has the program cut short; after
    /// many vain attempts gives the VM up.
    #[cold]
    fn sleep(
        &self,
        core: &Core,
        queue: &VolatileSlice<'_>,
        n: u64,
        budget: Duration,
    ) -> Result<Completion, CallError> {
        self.waits.fetch_add(1, Ordering::Relaxed);
        let begin = Instant::now();
        let deadline = begin + budget.min(FOR_EVER);
        // A program that answered by itself, forging, may still be at it: kicks
        // end it long before a load's budget does, and do a load no harm.
        let overdue = begin + budget.min(core.config.call_timeout).min(FOR_EVER);
        let paused = core.pause.total();
        let mut kicks = 0;
        let answer = loop {
            // Again each time: a guest that is late may have taken the word for the
            // answer before this one.
            ring::set_waiting(queue, true).map_err(outside)?;
            core.check_alive_under(Some(self.vcpu))?;
            if let Some(answer) = self.look(core, queue, n)? {
                break answer;
            }
            // A paused VM loses no time.
            let now = Instant::now() - core.pause.total().saturating_sub(paused);
            let mut limit = overdue.saturating_duration_since(now);
            if limit.is_zero() && core.daemon.is_some() {
                // Cutting short is for the daemon, which has time for all clients.
                limit = DOUBT;
                if now >= deadline + REMOTE_PATIENCE {
                    let text = "a request was not answered, nor cut short by the daemon";
                    let report = FaultReport::plain(Cause::Unresponsive, self.vcpu, text);
                    return Err(core.die(report));
                }
            } else if limit.is_zero() {
                if kicks == KICKS {
                    let text = "a request was not answered and could not be cut short";
                    let report = FaultReport::plain(Cause::Unresponsive, self.vcpu, text);
                    return Err(core.die(report));
                }
                ring::set_overdue(queue, true).map_err(outside)?;
                self.abort_of.store(0, Ordering::SeqCst);
                self.overdue.store(true, Ordering::SeqCst);
                self.abort.store(true, Ordering::SeqCst);
                self.interrupt();
                limit = DOUBT;
                if now >= deadline {
                    kicks += 1;
                    limit = KICK_INTERVAL;
                }
            }
            if !self.done.wait(Some(limit.min(DOUBT))) {
                // It may sleep in spite of what it said.
                self.wake.ring();
            }
        };
        self.overdue.store(false, Ordering::SeqCst);
        self.abort.store(false, Ordering::SeqCst);
        ring::set_overdue(queue, false).map_err(outside)?;
        ring::set_waiting(queue, false).map_err(outside)?;
        Ok(answer)
    }

    /// Checks that the answer's status is 0 or an errno, negative.
    #[inline]
    fn checked(&self, core: &Core, answer: Completion) -> Result<Completion, CallError> {
        match answer.status {
            status if status == -libc::ETIMEDOUT => {
                self.timeouts.fetch_add(1, Ordering::Relaxed);
                Err(CallError::TimedOut)
            }
            -4095..=0 => Ok(answer),
            status => {
                let text = format!("a completion has the status {status}");
                Err(core.die(FaultReport::plain(Cause::Protocol, self.vcpu, text)))
            }
        }
    }

    /// The program that this vCPU was asked to run, if that was the last request.
    pub(crate) fn last_program(&self) -> Option<u32> {
        u32::try_from(self.program.load(Ordering::Relaxed)).ok()
    }

    /// Nothing is wanted of the old vCPU any more.
    pub(crate) fn restart(&self) {
        self.abort.store(false, Ordering::SeqCst);
        self.overdue.store(false, Ordering::SeqCst);
        self.done.clear();
        self.wake.clear();
    }

    pub(crate) fn set_thread(&self, thread: Option<std::thread::JoinHandle<()>>) {
        *own(self.thread.lock()) = thread;
    }

    /// Interrupts whatever the vCPU's thread does. Lost if the thread is just
    /// about to enter the guest: repeat until it has the wanted effect.
    pub(crate) fn interrupt(&self) {
        if let Some(thread) = own(self.thread.lock()).as_ref() {
            let _ = thread.kill(signal::kick());
        }
    }

    /// Waits for the vCPU's thread of a dead VM to end.
    pub(crate) fn join(&self) {
        const PAUSE: Duration = Duration::from_micros(50);
        let Some(thread) = own(self.thread.lock()).take() else {
            return;
        };
        while !thread.is_finished() {
            let _ = thread.kill(signal::kick());
            self.wake.ring();
            std::thread::sleep(PAUSE);
        }
        let _ = thread.join();
    }

    pub(crate) fn counts(&self) -> Counts {
        Counts {
            calls: self.calls.load(Ordering::Relaxed),
            exits: self.exits.load(Ordering::Relaxed),
            waits: self.waits.load(Ordering::Relaxed),
            wakes: self.wakes.load(Ordering::Relaxed),
            timeouts: self.timeouts.load(Ordering::Relaxed),
        }
    }
}

fn block(core: &Core, at: u64) -> Result<VolatileSlice<'_>, VolatileMemoryError> {
    core.shared
        .slice()
        .subslice(at as usize, QUEUE_BLOCK as usize)
}

/// The queue block lies inside the shared slot by construction; this is what a
/// slip there would look like.
fn outside(_: VolatileMemoryError) -> CallError {
    CallError::Invalid("a queue lies outside shared memory")
}

/// Turns the status of an answer into an error.
#[inline]
pub(crate) fn succeeded(answer: Completion) -> Result<Completion, CallError> {
    match answer.status {
        0 => Ok(answer),
        status => Err(CallError::Errno { errno: -status }),
    }
}
