#![allow(clippy::unwrap_used)]

//! Every order of host and guest, as far as loom's memory model goes: no wake-up is
//! lost (else both would sleep, which loom finds), no message is lost, doubled or
//! seen half written.

use bpfvisor_abi::handshake::{Word, awake, complete, may_sleep, set_waiting, submit};
use bpfvisor_abi::ring::stamp;
use loom::sync::atomic::{AtomicU32, Ordering, fence};
use loom::sync::{Arc, Condvar, Mutex};
use loom::thread;

struct Cell(AtomicU32);

impl Word for Cell {
    fn load(&self, order: Ordering) -> u32 {
        // Loom knows no sequentially consistent loads; fences say it as well.
        if order == Ordering::SeqCst {
            fence(Ordering::SeqCst);
            return self.0.load(Ordering::Acquire);
        }
        self.0.load(order)
    }
    fn store(&self, value: u32, order: Ordering) {
        self.0.store(value, order);
    }
    fn exchange(&self, value: u32) -> u32 {
        fence(Ordering::SeqCst);
        let old = self.0.swap(value, Ordering::AcqRel);
        fence(Ordering::SeqCst);
        old
    }
    fn fence() {
        fence(Ordering::SeqCst);
    }
}

/// An eventfd: rings are remembered until somebody waits.
#[derive(Default)]
struct Bell {
    rung: Mutex<bool>,
    changed: Condvar,
}

impl Bell {
    fn ring(&self) {
        *self.rung.lock().unwrap() = true;
        self.changed.notify_one();
    }
    fn wait(&self) {
        let mut rung = self.rung.lock().unwrap();
        while !*rung {
            rung = self.changed.wait(rung).unwrap();
        }
        *rung = false;
    }
}

/// One slot of each ring, which is what one request at a time sees.
struct Queue {
    asleep: Cell,
    waiting: Cell,
    submitted: Cell,
    completed: Cell,
    request: AtomicU32,
    answer: AtomicU32,
    wake: Bell,
    done: Bell,
}

impl Queue {
    fn new() -> Self {
        let cell = || Cell(AtomicU32::new(0));
        Self {
            asleep: cell(),
            waiting: cell(),
            submitted: cell(),
            completed: cell(),
            request: AtomicU32::new(0),
            answer: AtomicU32::new(0),
            wake: Bell::default(),
            done: Bell::default(),
        }
    }

    fn host(&self, n: u32) {
        self.request.store(100 + n, Ordering::Relaxed);
        if submit(&self.submitted, stamp(n), &self.asleep) {
            self.wake.ring();
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

    fn guest(&self, n: u32) {
        let work = || self.submitted.load(Ordering::Acquire) == stamp(n);
        while !work() {
            if may_sleep(&self.asleep, work) {
                self.wake.wait();
            }
            awake(&self.asleep);
        }
        assert_eq!(self.request.load(Ordering::Relaxed), 100 + n);
        self.answer.store(200 + n, Ordering::Relaxed);
        if complete(&self.completed, stamp(n), &self.waiting) {
            self.done.ring();
        }
    }
}

#[test]
fn no_wake_up_and_no_message_is_lost() {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(3);
    model.check(|| {
        let queue = Arc::new(Queue::new());
        let guest = Arc::clone(&queue);
        let vcpu = thread::spawn(move || (0..2).for_each(|n| guest.guest(n)));
        (0..2).for_each(|n| queue.host(n));
        vcpu.join().unwrap();
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
