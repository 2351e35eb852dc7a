//! One vCPU's ends of its rings ([`bpfvisor_abi::ring`]).
mod trace;

pub use trace::Trace;

use crate::hal::{Machine, Shared};
use bpfvisor_abi::boot::port;
use bpfvisor_abi::handshake;
use bpfvisor_abi::layout::queue_block;
use bpfvisor_abi::ring::{Completion, Phase, Submission, block, slot, stamp};
use core::sync::atomic::{AtomicU32, Ordering};

/// The rings of one vCPU. Used by that vCPU alone; the position is atomic only
/// so that it survives a run that was cut short.
#[derive(Debug)]
pub struct Queue {
    shared: Shared,
    base: u64,
    asleep: &'static AtomicU32,
    host_waiting: &'static AtomicU32,
    phase: &'static AtomicU32,
    stop: &'static AtomicU32,
    overdue: &'static AtomicU32,
    next: AtomicU32,
}

impl Queue {
    /// The rings of vCPU `vcpu`; `None` when the slot is too short for them.
    pub fn new(shared: Shared, vcpu: u32) -> Option<Self> {
        let base = queue_block(vcpu);
        shared.addr(base, bpfvisor_abi::layout::QUEUE_BLOCK)?;
        Some(Self {
            shared,
            base,
            asleep: shared.word(base + block::GUEST_ASLEEP)?,
            host_waiting: shared.word(base + block::HOST_WAITING)?,
            phase: shared.word(base + block::PHASE)?,
            stop: shared.word(base + block::STOP)?,
            overdue: shared.word(base + block::OVERDUE)?,
            next: AtomicU32::new(0),
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

    /// What it does.
    pub fn phase(&self) -> u32 {
        self.phase.load(Ordering::Relaxed)
    }

    /// The host wants this vCPU to stop.
    pub fn stop_asked(&self) -> bool {
        self.stop.load(Ordering::Relaxed) != 0
    }

    /// The next submission, if it is there already.
    #[inline]
    pub fn poll(&self) -> Option<Submission> {
        let n = self.next.load(Ordering::Relaxed);
        let at = self.base + block::SUBMISSIONS + slot(n);
        let seq = self.shared.word(at)?.load(Ordering::Acquire);
        if seq != stamp(n) {
            return None;
        }
        self.shared.read(at)
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

    /// Answers the submission that [`poll`](Self::poll) gave and moves on.
    #[inline]
    pub fn complete(&self, machine: &dyn Machine, status: i32, val: [u64; 7]) {
        let n = self.next.load(Ordering::Relaxed);
        self.next.store(n.wrapping_add(1), Ordering::Relaxed);
        let at = self.base + block::COMPLETIONS + slot(n);
        let Some(seq) = self.shared.word(at) else {
            return;
        };
        let old = seq.load(Ordering::Relaxed);
        self.shared.write(
            at,
            Completion {
                seq: old,
                status,
                val,
            },
        );
        if handshake::complete(seq, stamp(n), self.host_waiting) {
            machine.out(port::NOTIFY, 0);
        }
    }
}
