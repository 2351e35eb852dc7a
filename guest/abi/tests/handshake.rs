#![allow(clippy::unwrap_used)]

//! Every order of host and guest, as far as loom's memory model goes: no wake-up is
//! lost (else both would sleep, which loom finds), no message is lost, doubled or
//! seen half written.

mod model;

use bpfvisor_abi::handshake::{Word, awake, complete, may_sleep, set_waiting, submit};
use bpfvisor_abi::ring::stamp;
use loom::sync::Arc;
use loom::sync::atomic::{AtomicU32, Ordering};
use loom::thread;
use model::{Bell, Cell};

/// What a vCPU has once, however many pairs it serves.
struct Home {
    asleep: Cell,
    wake: Bell,
}

impl Home {
    fn new() -> Self {
        Self {
            asleep: Cell::new(0),
            wake: Bell::default(),
        }
    }

    /// Sleeps until there is something to do.
    fn wait_for(&self, work: impl Fn() -> bool) {
        while !work() {
            if may_sleep(&self.asleep, &work) {
                self.wake.wait();
            }
            awake(&self.asleep);
        }
    }
}

/// One slot of each ring, which is what one request at a time sees.
struct Queue {
    waiting: Cell,
    submitted: Cell,
    completed: Cell,
    request: AtomicU32,
    answer: AtomicU32,
    done: Bell,
}

impl Queue {
    fn new() -> Self {
        Self {
            waiting: Cell::new(0),
            submitted: Cell::new(0),
            completed: Cell::new(0),
            request: AtomicU32::new(0),
            answer: AtomicU32::new(0),
            done: Bell::default(),
        }
    }

    fn host(&self, home: &Home, n: u32) {
        self.request.store(100 + n, Ordering::Relaxed);
        if submit(&self.submitted, stamp(n), &home.asleep) {
            home.wake.ring();
        }
        let answered = || self.completed.load(Ordering::Acquire) == stamp(n);
        if !answered() {
            loop {
                set_waiting(&self.waiting, true);
                if answered() {
                    break;
                }
                self.done.wait();
            }
            set_waiting(&self.waiting, false);
        }
        assert_eq!(self.answer.load(Ordering::Relaxed), 200 + n);
    }

    fn is_asked(&self, n: u32) -> bool {
        self.submitted.load(Ordering::Acquire) == stamp(n)
    }

    fn answer(&self, n: u32) {
        assert_eq!(self.request.load(Ordering::Relaxed), 100 + n);
        self.answer.store(200 + n, Ordering::Relaxed);
        if complete(&self.completed, stamp(n), &self.waiting) {
            self.done.ring();
        }
    }
}

/// A vCPU that serves one pair for so many requests, one after the other.
fn one_pair(requests: u32, preemptions: usize) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(preemptions);
    model.check(move || {
        let both = Arc::new((Home::new(), Queue::new()));
        let guest = Arc::clone(&both);
        let vcpu = thread::spawn(move || {
            let (home, queue) = &*guest;
            for n in 0..requests {
                home.wait_for(|| queue.is_asked(n));
                queue.answer(n);
            }
        });
        (0..requests).for_each(|n| both.1.host(&both.0, n));
        vcpu.join().unwrap();
    });
}

#[test]
fn no_wake_up_and_no_message_is_lost() {
    one_pair(2, 3);
}

#[test]
fn nor_with_more_requests() {
    one_pair(4, 2);
}

/// The pairs of two clients of a daemon, who submit when they like and ring one bell.
#[test]
fn nor_with_two_pairs_on_one_vcpu() {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(2);
    model.check(|| {
        let all = Arc::new((Home::new(), [Queue::new(), Queue::new()]));
        let client = |nth: usize| {
            let all = Arc::clone(&all);
            thread::spawn(move || all.1[nth].host(&all.0, 0))
        };
        let clients = [client(0), client(1)];
        let (home, queues) = &*all;
        let mut open = [true, true];
        while open.contains(&true) {
            let asked = |nth: usize| open[nth] && queues[nth].is_asked(0);
            home.wait_for(|| asked(0) || asked(1));
            let nth = usize::from(!asked(0));
            queues[nth].answer(0);
            open[nth] = false;
        }
        for c in clients {
            c.join().unwrap();
        }
    });
}

/// Two vCPUs, one caller each, and a caller that takes either: lanes don't meet but
/// in whoever waits for both.
#[test]
fn nor_with_two_vcpus() {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(2);
    model.check(|| {
        let lanes = [(); 2].map(|()| Arc::new((Home::new(), Queue::new())));
        let vcpus = lanes.each_ref().map(|lane| {
            let lane = Arc::clone(lane);
            thread::spawn(move || {
                lane.0.wait_for(|| lane.1.is_asked(0));
                lane.1.answer(0);
            })
        });
        for lane in &lanes {
            lane.1.host(&lane.0, 0);
        }
        for v in vcpus {
            v.join().unwrap();
        }
    });
}

/// The positive control: without the fence the host may sleep for ever.
#[test]
#[should_panic(expected = "deadlock")]
fn without_the_fence_a_wake_up_is_lost() {
    loom::model(|| {
        let queue = Arc::new(Queue::new());
        let guest = Arc::clone(&queue);
        let vcpu = thread::spawn(move || {
            guest.completed.store(1, Ordering::Release);
            if guest.waiting.0.load(Ordering::Relaxed) != 0 {
                guest.done.ring();
            }
        });
        queue.waiting.store(1, Ordering::Relaxed);
        while queue.completed.load(Ordering::Acquire) != 1 {
            queue.done.wait();
        }
        vcpu.join().unwrap();
    });
}
