//! VMs that die and are rebuilt: what comes back, what is lost, and who is told.
//! They need /dev/kvm.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

use bpfvisor::uapi::{errno, map_flags};
use bpfvisor::{
    Cause, Error, GuestError, Map, MapSpec, Program, ProgramSpec, Recovery, RecoveryReport, Result,
    Vm,
};
use bpfvisor_abi::boot::port;
use bpfvisor_tests::attack::{FRAME, Neighbour, inject, load, program, settings};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

const POLICIES: [Recovery; 2] = [Recovery::KeepMaps, Recovery::EmptyMaps];

fn boot(policy: Recovery, vcpus: u32) -> Vm {
    let vm = settings().vcpus(vcpus).recovery(policy);
    vm.boot().unwrap()
}

/// Counts its runs in a map and answers with the count.
fn counter(vm: &Vm, map: &Map) -> Program {
    let fd = map.as_raw_fd();
    let text = format!(
        "r1 = map[id:{fd}][0]+0
         r0 = 1
         r0 = atomic64_fetch_add((u64 *)(r1 + 0), r0)
         r0 += 1
         exit"
    );
    load(vm, program(&text))
}

/// A VM with a program that counts its runs, and one that is deadly.
struct Counted {
    vm: Vm,
    map: Map,
    counter: Program,
    deadly: Program,
}

impl Counted {
    fn new(policy: Recovery, vcpus: u32) -> Self {
        let vm = settings().vcpus(vcpus).recovery(policy);
        // Far more often than a service would want.
        let vm = vm.recovery_limit(1000, Duration::from_secs(60));
        let vm = vm.boot().unwrap();
        let map = vm.create_map(MapSpec::array("runs", 8, 1)).unwrap();
        let (counter, deadly) = (counter(&vm, &map), page_fault(&vm));
        Self {
            vm,
            map,
            counter,
            deadly,
        }
    }

    /// Runs so far, as the map has them.
    fn runs(&self) -> u64 {
        let value = self.map.get(&[0; 4]).unwrap().unwrap();
        u64::from_ne_bytes(value.try_into().unwrap())
    }
}

/// Waits for something that comes soon.
fn soon(what: &str, happened: impl Fn() -> bool) {
    let begin = Instant::now();
    while !happened() {
        assert!(begin.elapsed() < Duration::from_secs(20), "{what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// A program that reads address 0.
fn page_fault(vm: &Vm) -> Program {
    load(vm, program("r1 = 0\nr0 = *(u64 *)(r1 + 0)\nexit"))
}

fn out(vm: &Vm, port: u16, value: u32) -> Deadly {
    let [a, b, c, d] = value.to_le_bytes();
    let [low, high] = port.to_le_bytes();
    let code: [&[u8]; 3] = [&[0xb8, a, b, c, d], &[0xba, low, high, 0, 0], &[0xef]];
    let injected = inject(vm, &code);
    // Loaded again in the same order, the code is again where it was.
    (injected.program, Some(injected.carrier))
}

/// Ways to die from inside. (A triple fault, a runtime that never answers and
/// errors of KVM need a guest of their own: `vmm/src/vm/tests.rs`.)
type Death = (&'static str, Cause, fn(&Vm) -> Deadly);
/// A program that kills its VM, and one that it needs for that.
type Deadly = (Program, Option<Program>);
const DEATHS: [Death; 3] = [
    ("page fault", Cause::Exception { vector: 14 }, |vm| {
        (page_fault(vm), None)
    }),
    ("panic", Cause::Panic, |vm| out(vm, port::PANIC, 3)),
    ("protocol", Cause::Protocol, |vm| out(vm, port::STOPPED, 0)),
];

/// Runs what kills the VM; the caller is told that it is rebuilt.
fn die(deadly: &Program, cause: Cause) -> Arc<RecoveryReport> {
    let vm = deadly.vm();
    let before = vm.stats().recoveries;
    let error = deadly.run(&FRAME).unwrap_err();
    assert!(
        matches!(error, Error::Guest(GuestError::Rebuilt { .. })),
        "{error}"
    );
    assert_eq!(error.errno(), errno::EIO);
    assert!(!error.is_retryable());
    assert!(vm.is_alive());
    soon("not rebuilt", || vm.stats().recoveries > before);
    let report = vm.recoveries().pop().unwrap();
    assert_eq!(report.fault.cause, cause, "{report}");
    assert_eq!(vm.fault(), None);
    report
}

#[test]
fn every_death_is_survived_under_every_policy() {
    for policy in POLICIES {
        for (name, cause, deadly) in DEATHS {
            let vm = boot(policy, 1);
            let map = vm.create_map(MapSpec::array("runs", 8, 1)).unwrap();
            let counter = counter(&vm, &map);
            let (deadly, _carrier) = deadly(&vm);
            for round in 1..=3u64 {
                assert_eq!(counter.run(&FRAME).unwrap().r0, 1 + (round - 1) * 2);
                let report = Neighbour::beside(|| die(&deadly, cause));
                assert_eq!(report.number, round, "{name}");
                assert!(report.objects_lost.is_empty(), "{name}: {report}");
                let kept = policy == Recovery::KeepMaps;
                assert_eq!(report.maps_emptied.is_empty(), kept, "{name}: {report}");
                let next = if kept { 2 * round } else { 1 };
                assert_eq!(counter.run(&FRAME).unwrap().r0, next, "{name}: {report}");
                if !kept {
                    // Level with the other policy for the next round.
                    map.insert(&[0; 4], &(2 * round).to_ne_bytes()).unwrap();
                }
            }
        }
    }
}

/// Everything that a VM may hold, and what is in it.
struct World {
    vm: Vm,
    hash: Map,
    rodata: Map,
    table: Map,
    outer: Map,
    caller: Program,
    reader: Program,
}

fn world(policy: Recovery) -> Result<World> {
    let vm = boot(policy, 2);
    let hash = vm.create_map(MapSpec::hash("hash", 4, 8, 64))?;
    let mut rodata = MapSpec::array("rodata", 8, 1);
    rodata.flags = map_flags::RDONLY_PROG;
    let rodata = vm.create_map(rodata)?;
    let table = vm.create_map(MapSpec::prog_array("table", 4))?;
    let inner = vm.create_map(MapSpec::array("inner", 8, 4))?;
    let outer = vm.create_map(MapSpec::hash_of_maps("outer", 4, &inner, 4))?;
    for n in 0..50u32 {
        hash.insert(&n.to_ne_bytes(), &u64::from(n * n).to_ne_bytes())?;
    }
    rodata.insert(&[0; 4], &77u64.to_ne_bytes())?;
    rodata.freeze()?;
    inner.insert(&[0; 4], &5u64.to_ne_bytes())?;
    outer.insert(&[9; 4], &inner.as_raw_fd().to_ne_bytes())?;
    let target = load(&vm, program("r0 = 1234\nexit"));
    table.insert(&2u32.to_ne_bytes(), &target.as_raw_fd().to_ne_bytes())?;
    let fd = table.as_raw_fd();
    let text = format!("r2 = map[id:{fd}]\nr3 = 2\ncall bpf_tail_call\nr0 = 0\nexit");
    let caller = load(&vm, program(&text));
    let (constant, maps) = (rodata.as_raw_fd(), outer.as_raw_fd());
    let text = format!(
        "r6 = map[id:{constant}][0]+0
         r6 = *(u64 *)(r6 + 0)
         *(u32 *)(r10 - 4) = 0x09090909
         r1 = map[id:{maps}]
         r2 = r10
         r2 += -4
         call bpf_map_lookup_elem
         if r0 == 0 goto out
         *(u32 *)(r10 - 4) = 0
         r1 = r0
         r2 = r10
         r2 += -4
         call bpf_map_lookup_elem
         if r0 == 0 goto out
         r0 = *(u64 *)(r0 + 0)
     out:
         r0 += r6
         exit"
    );
    let reader = load(&vm, program(&text));
    Ok(World {
        vm,
        hash,
        rodata,
        table,
        outer,
        caller,
        reader,
    })
}

/// The target of the tail call and the inner map have no descriptor any more: only
/// the host's table names them.
#[test]
fn what_the_host_knows_is_filled_in_again() {
    for policy in POLICIES {
        let w = world(policy).unwrap();
        let kept = policy == Recovery::KeepMaps;
        assert_eq!(w.caller.run(&FRAME).unwrap().r0, 1234);
        assert_eq!(w.reader.run(&FRAME).unwrap().r0, 82);
        let deadly = page_fault(&w.vm);
        for _ in 0..2 {
            let report = die(&deadly, Cause::Exception { vector: 14 });
            assert_eq!(w.caller.run(&FRAME).unwrap().r0, 1234, "{report}");
            let inner = if kept { 5 } else { 0 };
            assert_eq!(w.reader.run(&FRAME).unwrap().r0, 77 + inner, "{report}");
            assert_eq!(w.hash.iter().count(), if kept { 50 } else { 0 });
            assert_eq!(report.maps_refilled, 3, "{report}");
        }
        // Frozen stays frozen, in the guest too.
        let refused = w.rodata.insert(&[0; 4], &[0; 8]).unwrap_err();
        assert_eq!(refused.errno(), errno::EPERM);
        // Everything can still be changed, and freed.
        w.table.remove(&2u32.to_ne_bytes()).unwrap();
        assert_eq!(w.caller.run(&FRAME).unwrap().r0, 0);
        w.outer.remove(&[9; 4]).unwrap();
        let objects = w.vm.stats().objects;
        drop((w.caller, w.reader, w.hash));
        soon("not freed", || w.vm.stats().objects == objects - 3);
        let new = w.vm.create_map(MapSpec::hash("new", 4, 8, 8)).unwrap();
        new.insert(&[1; 4], &[1; 8]).unwrap();
    }
}

#[test]
fn mapped_arrays_and_ring_buffers_stay_where_they_are() {
    for policy in POLICIES {
        let vm = boot(policy, 1);
        let mut spec = MapSpec::array("mapped", 8, 16);
        spec.flags = map_flags::MMAPABLE;
        let mapped = vm.create_map(spec).unwrap();
        let view = mapped.mmap_mut().unwrap();
        let ring = vm.create_map(MapSpec::ringbuf("ring", 4096)).unwrap();
        let mut consumer = ring.ring_buffer().unwrap();
        let (array, events) = (mapped.as_raw_fd(), ring.as_raw_fd());
        let text = format!(
            "r1 = map[id:{array}][0]+0
             r0 = *(u64 *)(r1 + 0)
             *(u64 *)(r1 + 8) = r0
             *(u64 *)(r10 - 8) = r0
             r1 = map[id:{events}]
             r2 = r10
             r2 += -8
             r3 = 8
             r4 = 0
             call bpf_ringbuf_output
             exit"
        );
        let writer = load(&vm, program(&text));
        // Reserves, and dies before it commits.
        let text = format!(
            "r1 = map[id:{events}]
             r2 = 8
             r3 = 0
             call bpf_ringbuf_reserve
             r1 = 0
             r0 = *(u64 *)(r1 + 0)
             exit"
        );
        let deadly = load(&vm, program(&text));
        for round in 1..=3u64 {
            view.store(0, round).unwrap();
            writer.run(&FRAME).unwrap();
            assert_eq!(view.load(8), Some(round));
            let report = die(&deadly, Cause::Exception { vector: 14 });
            let kept = policy == Recovery::KeepMaps;
            assert_eq!(report.records_lost, u64::from(kept), "{report}");
            assert_eq!(view.load(8), Some(if kept { round } else { 0 }));
            if kept {
                let second = Some(Duration::from_secs(1));
                assert_eq!(
                    consumer.next(second).unwrap(),
                    Some(&round.to_ne_bytes()[..])
                );
            } else {
                while consumer.try_next().is_some() {}
            }
            // Its consumer, asleep, is woken by the new machine.
            view.store(0, 100 + round).unwrap();
            std::thread::scope(|scope| {
                let waiting = scope.spawn(|| {
                    let record = consumer.next(Some(Duration::from_secs(5))).unwrap();
                    record.map(<[u8]>::to_vec)
                });
                std::thread::sleep(Duration::from_millis(20));
                writer.run(&FRAME).unwrap();
                let record = waiting.join().unwrap();
                assert_eq!(record, Some((100 + round).to_ne_bytes().to_vec()));
            });
        }
    }
}

/// Damaged storage is found, and only that map is emptied.
#[test]
fn maps_that_are_not_whole_are_emptied() {
    let vm = boot(Recovery::KeepMaps, 1);
    let good = vm.create_map(MapSpec::hash("good", 4, 8, 200)).unwrap();
    let bad = vm.create_map(MapSpec::hash("bad", 4, 8, 200)).unwrap();
    for n in 0..100u32 {
        good.insert(&n.to_ne_bytes(), &[7; 8]).unwrap();
        bad.insert(&n.to_ne_bytes(), &[7; 8]).unwrap();
    }
    let fd = bad.as_raw_fd();
    // Finds the storage by a value's address, and writes all ones over what lies
    // before it, where the buckets are.
    let text = format!(
        "*(u32 *)(r10 - 4) = 1
         r1 = map[id:{fd}]
         r2 = r10
         r2 += -4
         call bpf_map_lookup_elem
         r1 = r0
         r1 &= -4096
         r1 += -3072
         r2 = -1
         *(u64 *)(r1 + 0) = r2
         *(u64 *)(r1 + 16) = r2
         *(u64 *)(r1 + 32) = r2
         r1 = 0
         r0 = *(u64 *)(r1 + 0)
         exit"
    );
    let deadly = load(&vm, program(&text));
    let report = die(&deadly, Cause::Exception { vector: 14 });
    let emptied: Vec<_> = report
        .maps_emptied
        .iter()
        .map(|l| l.name.as_str())
        .collect();
    assert_eq!(emptied, ["bad"], "{report}");
    assert_eq!((good.iter().count(), bad.iter().count()), (100, 0));
    bad.insert(&[1; 4], &[1; 8]).unwrap();
    assert_eq!(bad.iter().count(), 1);
}

/// The calls of others are told that they may try again, and do.
#[test]
fn calls_in_flight_are_retried_and_no_count_is_lost() {
    let counted = Counted::new(Recovery::KeepMaps, 3);
    let (vm, deadly, counter) = (&counted.vm, &counted.deadly, &counted.counter);
    let hash = vm.create_map(MapSpec::hash("hash", 8, 8, 4096)).unwrap();
    let (done, retried) = (AtomicU64::new(0), AtomicU64::new(0));
    let stop = AtomicBool::new(false);
    let again = |what: &dyn Fn() -> Result<()>| loop {
        match what() {
            Ok(()) => break,
            Err(e) => {
                assert!(e.is_retryable() && e.errno() == errno::EAGAIN, "{e}");
                retried.fetch_add(1, Ordering::Relaxed);
            }
        }
    };
    std::thread::scope(|scope| {
        for thread in 0..3u64 {
            let (again, hash, done, stop) = (&again, &hash, &done, &stop);
            scope.spawn(move || {
                for n in (0..u64::MAX).take_while(|_| !stop.load(Ordering::Relaxed)) {
                    again(&|| counter.run(&FRAME).map(drop));
                    done.fetch_add(1, Ordering::Relaxed);
                    let key = ((thread << 32) | (n % 1000)).to_ne_bytes();
                    again(&|| hash.insert(&key, &n.to_ne_bytes()));
                    assert_eq!(hash.get(&key).unwrap(), Some(n.to_ne_bytes().to_vec()));
                }
            });
        }
        for _ in 0..12 {
            std::thread::sleep(Duration::from_millis(15));
            let error = deadly.run(&FRAME).unwrap_err();
            assert!(matches!(error, Error::Guest(_)), "{error}");
        }
        stop.store(true, Ordering::Relaxed);
    });
    let runs = counted.runs();
    let (done, retried) = (done.into_inner(), retried.into_inner());
    // A call that was lost may have had its effect.
    assert!(
        runs >= done && runs <= done + retried,
        "{runs} {done} {retried}"
    );
    assert_eq!(vm.stats().recoveries, 12);
    assert!(vm.recoveries().iter().all(|r| r.maps_emptied.is_empty()));
}

#[test]
fn after_too_many_deaths_the_vm_stays_dead() {
    let vm = settings().recovery(Recovery::KeepMaps);
    let vm = vm
        .recovery_limit(3, Duration::from_secs(60))
        .boot()
        .unwrap();
    let deadly = page_fault(&vm);
    for _ in 0..3 {
        die(&deadly, Cause::Exception { vector: 14 });
    }
    deadly.run(&FRAME).unwrap_err();
    soon("still alive", || !vm.is_alive());
    let error = deadly.run(&FRAME).unwrap_err();
    assert!(
        matches!(error, Error::Guest(GuestError::Fault(_))),
        "{error}"
    );
    assert!(!vm.is_alive() && vm.fault().is_some());
    assert_eq!(vm.recoveries().len(), 3);
}

/// A VM that is dropped while it is rebuilt leaves nothing behind.
#[test]
fn a_vm_may_go_at_any_moment_of_its_rebuilding() {
    let threads = || std::fs::read_dir("/proc/self/task").unwrap().count();
    Neighbour::beside(|| ());
    let vm = boot(Recovery::KeepMaps, 2);
    drop(vm);
    let before = threads();
    for n in 0..12u32 {
        let Counted {
            vm, map, deadly, ..
        } = Counted::new(Recovery::KeepMaps, 2);
        deadly.run(&FRAME).unwrap_err();
        std::thread::sleep(Duration::from_micros(u64::from(n) * 300));
        drop((deadly, vm));
        let _ = map.get(&[0; 4]);
    }
    // Other tests of this file may run beside; their VMs are few.
    soon("threads are left", || threads() <= before + 40);
}

/// Whoever pauses a VM that dies finds it dead until the pause is over, and whole
/// then; a pause that begins at any moment of a rebuilding waits for its end.
#[test]
fn a_vm_is_paused_at_any_moment_of_its_rebuilding() {
    let one = Counted::new(Recovery::KeepMaps, 3);
    let paused = one.vm.pause();
    let nested = one.vm.pause();
    one.vm.inject_fault("while it stands still");
    std::thread::sleep(Duration::from_millis(60));
    let nested = [nested, one.vm.pause()];
    assert_eq!(one.vm.stats().recoveries, 0);
    drop(paused);
    std::thread::sleep(Duration::from_millis(20));
    assert_eq!(one.vm.stats().recoveries, 0);
    drop(nested);
    assert_eq!(one.counter.run(&FRAME).unwrap().r0, 1);
    for n in 1..9u64 {
        one.vm.inject_fault("before a pause");
        // The wait before the nth attempt, and a part of the rebuilding.
        std::thread::sleep(Duration::from_micros((500 << n) + n * 300));
        let begin = Instant::now();
        let paused = one.vm.pause();
        assert!(begin.elapsed() < Duration::from_secs(10), "{n}");
        let runs = one.runs();
        std::thread::sleep(Duration::from_millis(2));
        assert_eq!(one.runs(), runs);
        drop(paused);
        loop {
            match one.counter.run(&FRAME) {
                Ok(out) => break assert_eq!(out.r0, n + 1),
                Err(e) => assert!(e.is_retryable(), "{e}"),
            }
        }
    }
}

/// Dead for good, whichever part of the rebuilding the end meets; nobody waits for
/// a machine that does not come.
#[test]
fn a_vm_is_killed_at_any_moment_of_its_rebuilding() {
    for n in 0..30u64 {
        let one = Counted::new(Recovery::KeepMaps, 2);
        one.counter.run(&FRAME).unwrap();
        one.vm.inject_fault("before the end");
        std::thread::sleep(Duration::from_micros(n * 150));
        let begin = Instant::now();
        std::thread::scope(|scope| {
            let call = scope.spawn(|| one.counter.run(&FRAME));
            one.vm.kill();
            let _ = call.join().unwrap();
        });
        let error = one.counter.run(&FRAME).unwrap_err();
        assert!(!error.is_retryable(), "{error}");
        assert!(begin.elapsed() < Duration::from_secs(10), "{n}");
        assert!(!one.vm.is_alive() && one.vm.fault().is_some());
        assert!(one.runs() >= 1, "maps can still be read");
        let number = one.vm.stats().recoveries;
        drop(one.vm.recoveries());
        assert_eq!(one.vm.stats().recoveries, number, "it stays dead");
    }
}

/// What the loader wrote is there again where contents are given up: counters of
/// programs, not constants, and no zeroes in their place.
#[test]
fn global_data_begins_anew_with_its_first_values() {
    let file = bpfvisor_tests::root().join("resources/programs/xdp_firewall.o");
    for policy in POLICIES {
        let vm = boot(policy, 1);
        let object = vm.load_object(&file).unwrap();
        let is_data = |(name, _): &(&str, &Map)| name.ends_with(".data");
        let (_, data) = object.maps().find(is_data).unwrap();
        let first = data.get(&[0; 4]).unwrap().unwrap();
        assert!(first.iter().any(|&b| b != 0), "nothing to lose");
        let changed = vec![0x5a; first.len()];
        data.insert(&[0; 4], &changed).unwrap();
        let report = die(&page_fault(&vm), Cause::Exception { vector: 14 });
        let kept = policy == Recovery::KeepMaps;
        let now = data.get(&[0; 4]).unwrap().unwrap();
        assert_eq!(now, if kept { changed } else { first }, "{report}");
        assert_eq!(report.maps_reset.len(), usize::from(!kept), "{report}");
    }
}

/// Programs that were verified are verified again, by the new machine.
#[test]
fn verified_programs_come_back_verified() {
    let vm = Vm::builder().memory(8 << 20).heap(16 << 20);
    let vm = vm.recovery(Recovery::KeepMaps).boot().unwrap();
    let map = vm.create_map(MapSpec::hash("hash", 4, 8, 16)).unwrap();
    map.insert(&[0; 4], &[3; 8]).unwrap();
    let fd = map.as_raw_fd();
    let text = format!(
        "*(u32 *)(r10 - 4) = 0
         r1 = map[id:{fd}]
         r2 = r10
         r2 += -4
         call bpf_map_lookup_elem
         if r0 == 0 goto out
         r0 = *(u8 *)(r0 + 0)
     out:
         exit"
    );
    let verified = vm
        .load(ProgramSpec::xdp(program(&text)).name("verified"))
        .unwrap();
    assert_eq!(verified.run(&FRAME).unwrap().r0, 3);
    // With the verifier on nothing can kill it from inside: the host does.
    vm.inject_fault("for the test");
    soon("not rebuilt", || vm.stats().recoveries == 1);
    assert_eq!(verified.run(&FRAME).unwrap().r0, 3);
    assert_eq!(vm.recoveries()[0].programs, 1);
}
