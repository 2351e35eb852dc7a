//! The runtime replaced by an attacker's ([`testing::chaos`]), in real VMs: whatever it
//! answers, writes and rings, each call of the host ends in time with a value or a typed
//! error, and other VMs go on. They need /dev/kvm.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bpfvisor_abi::ring::block;
use zerocopy::FromZeros;

use super::*;
use crate::recover::{Recovery, RecoveryLimit};
use crate::testing;

/// How long it is at it; `CHAOS_SECONDS` makes it longer.
const TIME: u64 = 6;
/// Longest time of one call: its budget, the attempts to cut it short, and the
/// rebuilding of a VM that does not come up.
const LONGEST: Duration = Duration::from_secs(60);

fn config(recovery: Recovery, vcpus: u32) -> Config {
    Config {
        vcpus,
        shared_bytes: 8 << 20,
        heap_bytes: 2 << 20,
        call_timeout: Duration::from_millis(20),
        verify_timeout: Duration::from_millis(20),
        client_spins: 100,
        recovery,
        recovery_limit: RecoveryLimit {
            attempts: 3,
            window: Duration::from_secs(60),
        },
        ..Config::default()
    }
}

/// What came of it.
#[derive(Debug, Default)]
struct Totals {
    calls: AtomicU64,
    values: AtomicU64,
    deaths: AtomicU64,
    rebuilt: AtomicU64,
}

impl Totals {
    fn add<T>(&self, begin: Instant, answer: Result<T, CallError>) -> Option<T> {
        let took = begin.elapsed();
        assert!(took < LONGEST, "{took:?}");
        self.calls.fetch_add(1, Ordering::Relaxed);
        match answer {
            Ok(value) => {
                self.values.fetch_add(1, Ordering::Relaxed);
                Some(value)
            }
            Err(e) => {
                assert!((1..4096).contains(&e.errno()), "{e}");
                None
            }
        }
    }
}

/// One of each thing that a host asks a guest for.
fn round(vm: &Vm, n: u64, totals: &Totals) {
    let now = Instant::now;
    totals.add(now(), vm.call(0, [n; 7]));
    let object = load(vm, totals);
    let map = vm.alloc(4096, 4096).ok().and_then(|storage| {
        let made = vm.create_map(MapRecord::default(), storage, Vec::new());
        totals.add(now(), made)
    });
    if let (Some(object), Ok(room)) = (&object, vm.alloc_low(256, 64)) {
        let packet = Packet {
            off: room.offset() as u32,
            cap: 256,
            data: 64,
            len: 64,
            ..Packet::default()
        };
        let run = Run {
            repeat: 1,
            packet,
            ..Run::default()
        };
        if let Some(result) = totals.add(now(), vm.run(object, run)) {
            assert!(u64::from(result.data) + u64::from(result.len) <= 256);
        }
        let mut packets = [packet; 5];
        if totals
            .add(now(), vm.run_batch(object, &mut packets))
            .is_some()
        {
            for p in packets {
                assert!(u64::from(p.data) + u64::from(p.len) <= 256, "{p:?}");
                assert_eq!((p.off, p.cap), (packet.off, packet.cap));
            }
        }
    }
    let text = vm.take_trace();
    assert!(text.chars().count() as u64 <= u64::from(vm.config().vcpus) * block::TRACE_LEN);
    if let Some(map) = &map {
        let fd = vm.export(map).unwrap();
        drop(fd);
    }
}

fn load(vm: &Vm, totals: &Totals) -> Option<Arc<Object>> {
    let request = LoadRequest {
        record: bpfvisor_abi::op::LoadRecord::new_zeroed(),
        insns: &[0x95, 0, 0, 0, 0, 0, 0, 0].repeat(4),
        types: crate::load::TypeInfo::default(),
        maps: Vec::new(),
        note: Vec::new(),
        log_len: 64,
    };
    let begin = Instant::now();
    match vm.load(request) {
        Ok(loaded) => {
            assert!(loaded.log.len() <= 64);
            totals.add(begin, Ok(loaded.object))
        }
        Err(LoadError::Call(e)) => totals.add(begin, Err(e)),
        Err(LoadError::Rejected { errno, message, .. }) => {
            assert!(errno > 0 && message.chars().count() <= 256);
            totals.add(begin, Err(CallError::Errno { errno }))
        }
    }
}

/// Boots one VM after the other with an image, and uses each by two threads until it is
/// dead for good.
fn play(code: &[u8], time: Duration, totals: &Totals) {
    let begin = Instant::now();
    for n in 0u64.. {
        if begin.elapsed() > time {
            break;
        }
        let recovery = [Recovery::None, Recovery::KeepMaps, Recovery::EmptyMaps];
        let config = config(recovery[n as usize % 3], 1 + n as u32 % 2);
        let vm = Vm::boot_image(&config, &testing::guest(code)).expect("these tests need KVM");
        std::thread::scope(|scope| {
            for thread in 0..2 {
                let vm = &vm;
                scope.spawn(move || {
                    for n in thread * 1000.. {
                        if !vm.is_alive() || begin.elapsed() > time {
                            break;
                        }
                        round(vm, n, totals);
                    }
                });
            }
        });
        if let Some(report) = vm.fault() {
            totals.deaths.fetch_add(1, Ordering::Relaxed);
            assert!(!report.to_string().is_empty());
        }
        totals
            .rebuilt
            .fetch_add(vm.stats().recoveries, Ordering::Relaxed);
    }
}

#[test]
fn a_guest_in_an_attackers_hands_gets_nothing_but_errors() {
    let seconds = std::env::var("CHAOS_SECONDS")
        .ok()
        .and_then(|s| s.parse().ok());
    let time = Duration::from_secs(seconds.unwrap_or(TIME));
    let totals = Totals::default();
    let over = AtomicBool::new(false);
    let other = Vm::boot(config(Recovery::None, 1)).expect("these tests need KVM");
    let neighbours = std::thread::scope(|scope| {
        let neighbour = scope.spawn(|| {
            let mut answers = 0u64;
            while !over.load(Ordering::Relaxed) {
                other.call(code::NOP, [0; 7]).unwrap();
                answers += 1;
                std::thread::sleep(Duration::from_micros(200));
            }
            answers
        });
        play(testing::chaos(), time, &totals);
        over.store(true, Ordering::Relaxed);
        neighbour.join().unwrap()
    });
    println!("{totals:?}, {neighbours} answers of a neighbour");
    let get = |n: &AtomicU64| n.load(Ordering::Relaxed);
    assert!(
        get(&totals.deaths) > 3 && get(&totals.rebuilt) > 3,
        "{totals:?}"
    );
    assert!(get(&totals.values) > 100 && get(&totals.values) < get(&totals.calls));
    assert!(neighbours > 10);
}
