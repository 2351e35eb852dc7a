//! One vCPU's ends of its rings ([`bpfvisor_abi::ring`]).
mod pair;
mod trace;

pub use trace::Trace;

use crate::hal::{Machine, Shared};
use alloc::vec::Vec;
use bpfvisor_abi::boot::port;
use bpfvisor_abi::handshake;
use bpfvisor_abi::layout::{MAX_PAIRS, QUEUE_BLOCK, pair_block};
use bpfvisor_abi::ring::{Phase, Submission, block};
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use pair::Pair;

/// The rings of one vCPU. Used by that vCPU alone; positions are atomic only so
/// that they survive a run that was cut short.
#[derive(Debug)]
pub struct Queue {
    shared: Shared,
    asleep: &'static AtomicU32,
    phase: &'static AtomicU32,
    begun: &'static AtomicU32,
    stop: &'static AtomicU32,
    overdue: &'static AtomicU32,
    active: &'static AtomicU64,
    own: Pair,
    clients: Vec<Pair>,
    /// The pair whose request is, or was, under way; 0 is `own`.
    current: AtomicU32,
}

impl Queue {
    /// The `pairs` ring pairs of a vCPU (of how many, and which); `None` when the
    /// slot is too short for them.
    pub fn new(shared: Shared, (vcpus, vcpu): (u32, u32), pairs: u32) -> Option<Self> {
        let home = pair_block(vcpus, vcpu, 0);
        let pairs = pairs.clamp(1, MAX_PAIRS);
        let pair = |n| {
            let base = pair_block(vcpus, vcpu, n);
            shared.addr(base, QUEUE_BLOCK)?;
            Pair::new(shared, base)
        };
        Some(Self {
            shared,
            asleep: shared.word(home + block::GUEST_ASLEEP)?,
            phase: shared.word(home + block::PHASE)?,
            begun: shared.word(home + block::BEGUN)?,
            stop: shared.word(home + block::STOP)?,
            overdue: shared.word(home + block::OVERDUE)?,
            active: shared.dword(home + block::ACTIVE)?,
            own: pair(0)?,
            clients: (1..pairs).map(pair).collect::<Option<_>>()?,
            current: AtomicU32::new(0),
        })
    }

    /// The request under way has used its time up.
    pub fn is_overdue(&self) -> bool {
        self.overdue.load(Ordering::Relaxed) != 0
    }

    /// Tells the watchdog what this vCPU does from here on.
    #[inline]
    pub fn set_phase(&self, phase: Phase) {
        self.phase.store(phase as u32, Ordering::Release);
    }

    /// Tells it that another request begins.
    #[inline]
    pub fn begin(&self) {
        let count = self.begun.load(Ordering::Relaxed).wrapping_add(1);
        self.begun.store(count, Ordering::Relaxed);
        self.set_phase(Phase::Runtime);
    }

    /// What it does.
    pub fn phase(&self) -> u32 {
        self.phase.load(Ordering::Relaxed)
    }

    /// The host wants this vCPU to stop.
    pub fn stop_asked(&self) -> bool {
        self.stop.load(Ordering::Relaxed) != 0
    }

    /// The next submission, if there is one already: the VMM's, or else the next
    /// client's after the last.
    #[inline]
    pub fn poll(&self) -> Option<Submission> {
        let own = self.own.poll(self.shared);
        if own.is_some() {
            self.current.store(0, Ordering::Relaxed);
            return own;
        }
        if self.clients.is_empty() {
            return None;
        }
        self.poll_clients()
    }

    fn poll_clients(&self) -> Option<Submission> {
        let active = self.active.load(Ordering::Acquire);
        let last = self.current.load(Ordering::Relaxed) % MAX_PAIRS;
        let later = active & (u64::MAX << last) << 1;
        for mut turn in [later, active & !later] {
            while turn != 0 {
                let n = turn.trailing_zeros();
                turn &= turn - 1;
                let pair = (n as usize)
                    .checked_sub(1)
                    .and_then(|n| self.clients.get(n));
                if let Some(found) = pair.and_then(|p| p.poll(self.shared)) {
                    self.current.store(n, Ordering::Relaxed);
                    return Some(found);
                }
            }
        }
        None
    }

    /// Polls, then sleeps, until there is a submission or a wish to stop.
    pub fn wait(&self, machine: &dyn Machine, idle_polls: u32) -> Option<Submission> {
        loop {
            for _ in 0..=idle_polls {
                if let Some(s) = self.poll() {
                    return Some(s);
                }
                if self.stop_asked() {
                    return None;
                }
                core::hint::spin_loop();
            }
            let work = || self.poll().is_some() || self.stop_asked();
            if handshake::may_sleep(self.asleep, work) {
                machine.out(port::SLEEP, 0);
            }
            handshake::awake(self.asleep);
        }
    }

    /// The pair of the current request.
    #[inline]
    fn pair(&self) -> (u32, &Pair) {
        let current = self.current.load(Ordering::Relaxed);
        let client = (current as usize).checked_sub(1);
        let client = client.and_then(|n| self.clients.get(n));
        client.map_or((0, &self.own), |pair| (current, pair))
    }

    /// Whether that [`poll`](Self::poll) gave last is a client's.
    #[inline]
    pub fn of_client(&self) -> bool {
        self.current.load(Ordering::Relaxed) != 0
    }

    /// Whether the request that [`poll`](Self::poll) gave last has no answer yet.
    pub fn unanswered(&self) -> bool {
        self.pair().1.poll(self.shared).is_some()
    }

    /// Answers the submission that [`poll`](Self::poll) gave and moves on.
    #[inline]
    pub fn complete(&self, machine: &dyn Machine, status: i32, val: [u64; 7]) {
        let (number, pair) = self.pair();
        if pair.complete(self.shared, status, val) {
            machine.out(port::NOTIFY, number);
        }
    }

    /// Empties a client's pair; `None` where there is no such pair.
    pub fn reset(&self, pair: u32) -> Option<()> {
        let pair = self.clients.get(pair.checked_sub(1)? as usize)?;
        pair.reset(self.shared)
    }
}
