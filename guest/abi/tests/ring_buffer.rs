//! Ring buffers between two vCPUs and a consumer that sleeps: the steps of
//! `bpf_core::map` (`advance`, `commit`; `next`, `set_asleep`, `ready`) over loom's
//! words, every order of them. No record is lost, doubled or seen before it is
//! committed, and the consumer never sleeps over one.
#![allow(clippy::unwrap_used)]

mod model;

use bpfvisor_abi::handshake::Word;
use loom::sync::atomic::{AtomicU32, Ordering};
use loom::sync::{Arc, Mutex};
use loom::thread;
use model::{Bell, Cell};

const BUSY: u32 = 1 << 31;
const RECORDS: usize = 2;

/// Records are one word each, at positions 0, 1, ...
struct Ring {
    lock: Mutex<()>,
    producer: Cell,
    consumer: Cell,
    asleep: Cell,
    headers: [Cell; RECORDS],
    data: [AtomicU32; RECORDS],
    bell: Bell,
}

impl Ring {
    fn new() -> Self {
        Self {
            lock: Mutex::new(()),
            producer: Cell::new(0),
            consumer: Cell::new(0),
            asleep: Cell::new(0),
            headers: [0; RECORDS].map(Cell::new),
            data: [0; RECORDS].map(AtomicU32::new),
            bell: Bell::default(),
        }
    }

    /// One record, on a vCPU.
    fn output(&self, value: u32) {
        let at = {
            let _held = self.lock.lock().unwrap();
            let at = self.producer.load(Ordering::Acquire);
            self.headers[at as usize].store(4 | BUSY, Ordering::Release);
            self.producer.store(at + 1, Ordering::Release);
            at
        };
        self.data[at as usize].store(value, Ordering::Relaxed);
        self.headers[at as usize].exchange(4);
        let waits_for_this = self.consumer.load(Ordering::Acquire) == at;
        if waits_for_this
            && self.asleep.load(Ordering::Acquire) != 0
            && self.asleep.exchange(0) != 0
        {
            self.bell.ring();
        }
    }

    fn ready(&self, at: u32) -> bool {
        let there = self.producer.load(Ordering::Acquire) != at;
        there && self.headers[at as usize].load(Ordering::Acquire) & BUSY == 0
    }

    /// The record at a position, which the consumer has published.
    fn next(&self, at: u32, sleeps: impl Fn()) -> u32 {
        while !self.ready(at) {
            self.asleep.exchange(1);
            if !self.ready(at) {
                sleeps();
            }
            self.asleep.exchange(0);
        }
        let value = self.data[at as usize].load(Ordering::Relaxed);
        self.consumer.exchange(at + 1);
        value
    }
}

fn check(sleeps: fn(&Ring)) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(2);
    model.check(move || {
        let ring = Arc::new(Ring::new());
        let vcpus = [5, 6].map(|value| {
            let ring = Arc::clone(&ring);
            thread::spawn(move || ring.output(value))
        });
        let seen = [0, 1].map(|at| ring.next(at, || sleeps(&ring)));
        assert_eq!(seen[0] + seen[1], 11, "{seen:?}");
        for v in vcpus {
            v.join().unwrap();
        }
    });
}

#[test]
fn the_consumer_sleeps_over_no_record() {
    check(|ring| ring.bell.wait());
}

/// The positive control: a producer that looks at the mark before it commits.
#[test]
#[should_panic(expected = "deadlock")]
fn a_look_before_the_commit_loses_a_wake_up() {
    loom::model(|| {
        let ring = Arc::new(Ring::new());
        let vcpu = Arc::clone(&ring);
        let vcpu = thread::spawn(move || {
            vcpu.producer.store(1, Ordering::Release);
            let asleep = vcpu.asleep.exchange(0) != 0;
            vcpu.headers[0].exchange(4);
            if asleep {
                vcpu.bell.ring();
            }
        });
        ring.headers[0].store(4 | BUSY, Ordering::Release);
        ring.next(0, || ring.bell.wait());
        vcpu.join().unwrap();
    });
}
