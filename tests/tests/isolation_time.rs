//! Programs that do not end, in VMs without verifier. They need /dev/kvm.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

use bpfvisor::uapi::errno;
use bpfvisor::{Cause, Error, MapSpec, ProgramSpec, Recovery, TestRun, Vm};
use bpfvisor_tests::attack::{BUDGET, FRAME, load, program, proof, settings, works};
use std::fmt::Write;
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

/// What a call may take beyond its budget where the host is busy.
const SLACK: Duration = Duration::from_secs(2);

/// The program is cut short in time, more than once, and the VM works.
fn cut_short(vm: &Vm, text: &str) {
    let endless = load(vm, program(text));
    for _ in 0..2 {
        let begin = Instant::now();
        assert_eq!(endless.run(&FRAME), Err(Error::Timeout(BUDGET)));
        let took = begin.elapsed();
        assert!((BUDGET..BUDGET + SLACK).contains(&took), "{took:?}");
        works(vm);
    }
    assert_eq!(vm.stats().timeouts, 2);
}

#[test]
fn endless_loops_are_cut_short() {
    let loops = [
        "r0 = 0\nagain:\ngoto again\nexit",
        "r0 = 0\nagain:\nr0 += 1\nif r0 != 0 goto again\nexit",
        "again:\ncall bpf_ktime_get_ns\ngoto again\nexit",
        "again:\ncall bpf_get_prandom_u32\nif r0 != 0 goto again\ngoto again\nexit",
        // Writes all over its own stack frame meanwhile.
        "again:\n*(u64 *)(r10 - 8) = r1\n*(u64 *)(r10 - 512) = r1\ngoto again\nexit",
    ];
    for text in loops {
        proof(|vm| cut_short(vm, text));
    }
}

#[test]
fn a_loop_of_callbacks_is_cut_short() {
    let text = "
            r1 = 8388608
            r2 = subprog[one]
            r3 = 0
            r4 = 0
            call bpf_loop
            exit
        one:
            r6 = 1000
        again:
            r6 -= 1
            if r6 != 0 goto again
            r0 = 0
            exit";
    proof(|vm| cut_short(vm, text));
}

#[test]
fn endless_repeats_are_cut_short() {
    proof(|vm| {
        let short = load(vm, program("r0 = 1\nexit"));
        let repeat = |repeat| TestRun {
            data: &FRAME,
            repeat,
            ..TestRun::default()
        };
        assert_eq!(short.test_run(&repeat(1000)).unwrap().r0, 1);
        assert_eq!(
            short.test_run(&repeat(u32::MAX)),
            Err(Error::Timeout(BUDGET))
        );
        works(vm);
    });
}

/// A lock at offset 0 of a map's one value.
fn locked(vm: &Vm) -> bpfvisor::Map {
    vm.create_map(MapSpec::array("locked", 16, 1).spin_lock(0))
        .unwrap()
}

fn with_lock(map: &bpfvisor::Map, then: &str) -> String {
    let fd = map.as_raw_fd();
    format!("r6 = map[id:{fd}][0]+0\nr1 = r6\ncall bpf_spin_lock\n{then}")
}

#[test]
fn a_lock_held_by_a_program_that_is_cut_short_is_free_again() {
    proof(|vm| {
        let map = locked(vm);
        cut_short(vm, &with_lock(&map, "again:\ngoto again\nexit"));
        // Positive control: whoever wants the lock gets it.
        let text = with_lock(&map, "r1 = r6\ncall bpf_spin_unlock\nr0 = 5\nexit");
        assert_eq!(load(vm, program(&text)).run(&FRAME).unwrap().r0, 5);
        map.insert(&[0; 4], &[1; 16]).unwrap();
        assert_eq!(map.get(&[0; 4]).unwrap().unwrap()[4..], [1; 12]);
    });
}

/// The helper itself spins, and looks at the time.
#[test]
fn waiting_for_a_lock_that_is_never_freed_is_cut_short() {
    proof(|vm| {
        let map = locked(vm);
        let twice = with_lock(&map, "r1 = r6\ncall bpf_spin_lock\nr0 = 0\nexit");
        cut_short(vm, &twice);
        // What it held is free.
        let once = with_lock(&map, "r1 = r6\ncall bpf_spin_unlock\nr0 = 5\nexit");
        assert_eq!(load(vm, program(&once)).run(&FRAME).unwrap().r0, 5);
    });
}

/// A lock that no program holds: nobody will ever free it, and all wait in vain.
#[test]
fn waiting_for_a_lock_that_nobody_holds_is_cut_short() {
    let vm = settings().vcpus(2).boot().unwrap();
    let map = locked(&vm);
    let fd = map.as_raw_fd();
    let taken = format!("r1 = map[id:{fd}][0]+0\n*(u32 *)(r1 + 0) = 1\nr0 = 1\nexit");
    load(&vm, program(&taken)).run(&FRAME).unwrap();
    let waits = load(&vm, program(&with_lock(&map, "r0 = 0\nexit")));
    let quick = load(&vm, program("r0 = 3\nexit"));
    std::thread::scope(|scope| {
        let stuck = scope.spawn(|| waits.run(&FRAME));
        while !stuck.is_finished() {
            assert_eq!(quick.run(&FRAME).unwrap().r0, 3);
        }
        assert_eq!(stuck.join().unwrap(), Err(Error::Timeout(BUDGET)));
    });
    works(&vm);
}

#[test]
fn a_vm_that_is_paused_stands_still_and_loses_no_time() {
    let vm = settings().vcpus(2).boot().unwrap();
    let counts = vm.create_map(MapSpec::array("counts", 8, 1)).unwrap();
    let fd = counts.as_raw_fd();
    let text = format!(
        "r1 = map[id:{fd}][0]+0\nagain:\nr2 = *(u64 *)(r1 + 0)\nr2 += 1\n*(u64 *)(r1 + 0) = r2\n\
         if r2 != 0 goto again\nexit"
    );
    let endless = load(&vm, program(&text));
    let quick = load(&vm, program("r0 = 3\nexit"));
    let count = || counts.get(&[0; 4]).unwrap().unwrap();
    let begin = Instant::now();
    std::thread::scope(|scope| {
        let stuck = scope.spawn(|| (endless.run(&FRAME), begin.elapsed()));
        while count() == [0; 8] {
            std::thread::yield_now();
        }
        let paused = vm.pause();
        let nested = vm.pause();
        let calls = scope.spawn(|| quick.run(&FRAME).map(|out| out.r0));
        let still = count();
        std::thread::sleep(3 * BUDGET);
        drop(nested);
        assert_eq!(count(), still);
        assert!(!stuck.is_finished() && !calls.is_finished());
        drop(paused);
        assert_eq!(calls.join().unwrap(), Ok(3));
        let (answer, took) = stuck.join().unwrap();
        assert_eq!(answer, Err(Error::Timeout(BUDGET)));
        assert!(took > 3 * BUDGET, "{took:?}");
        assert_ne!(count(), still);
    });
    works(&vm);
    // One that sleeps is paused as well.
    std::thread::sleep(Duration::from_millis(50));
    drop(vm.pause());
    works(&vm);
}

#[test]
fn a_vm_is_killed_from_another_thread() {
    for recovery in [Recovery::None, Recovery::KeepMaps] {
        let vm = settings()
            .recovery(recovery)
            .timeout(Duration::from_secs(60));
        let vm = vm.boot().unwrap();
        let map = vm.create_map(MapSpec::array("map", 8, 1)).unwrap();
        map.insert(&[0; 4], &[5; 8]).unwrap();
        let endless = load(&vm, program("again:\ngoto again\nexit"));
        let begin = Instant::now();
        std::thread::scope(|scope| {
            let stuck = scope.spawn(|| endless.run(&FRAME));
            std::thread::sleep(Duration::from_millis(30));
            // Even one that is paused.
            let paused = vm.pause();
            vm.kill();
            let error = stuck.join().unwrap().unwrap_err();
            assert!(
                matches!(error, Error::Guest(_)) && !error.is_retryable(),
                "{error}"
            );
            drop(paused);
        });
        assert!(begin.elapsed() < Duration::from_secs(20));
        assert_eq!(vm.fault().unwrap().cause, Cause::Killed);
        assert!(!vm.is_alive());
        assert!(endless.run(&FRAME).is_err());
        assert_eq!(map.get(&[0; 4]).unwrap(), Some(vec![5; 8]));
    }
}

/// A program whose every round doubles the paths, which no comparison of states
/// brings together again.
fn paths_without_end() -> String {
    let mut text = String::from("r6 = r1\nr7 = 0\n");
    for n in 0..4000u64 {
        let _ = writeln!(
            text,
            "call bpf_get_prandom_u32\nif r0 == {n} goto +1\nr7 += {}",
            n * 4001
        );
    }
    text + "r0 = 0\nif r7 == 1 goto out\nr0 = 1\nout:\nexit"
}

/// A program whose verification takes too long is refused in time, with the reason,
/// under any budget; the VM goes on at once.
#[test]
fn verification_ends_within_its_budget() {
    for limit in [5, 50].map(Duration::from_millis) {
        let vm = Vm::builder().memory(16 << 20).heap(256 << 20);
        let vm = vm.verify_timeout(limit).boot().unwrap();
        let spec = ProgramSpec::xdp(program(&paths_without_end())).license("GPL");
        let begin = Instant::now();
        let error = vm.load(spec).unwrap_err();
        let took = begin.elapsed();
        assert_eq!(error.errno(), errno::E2BIG, "{error}");
        let text = error.to_string();
        assert!(
            text.contains("the time for the verification is used up"),
            "{text}"
        );
        assert!(took >= limit && took < limit + SLACK, "{took:?}");
        works(&vm);
    }
}

#[test]
fn other_vcpus_answer_while_one_is_stuck() {
    let vm = settings().vcpus(2).boot().unwrap();
    let endless = load(&vm, program("again:\ngoto again\nexit"));
    let quick = load(&vm, program("r0 = 3\nexit"));
    std::thread::scope(|scope| {
        let stuck = scope.spawn(|| endless.run(&FRAME));
        let mut answers = 0;
        while !stuck.is_finished() {
            assert_eq!(quick.run(&FRAME).unwrap().r0, 3);
            answers += 1;
        }
        assert!(answers > 10, "{answers} answers");
        assert_eq!(stuck.join().unwrap(), Err(Error::Timeout(BUDGET)));
    });
    works(&vm);
}

#[test]
fn division_never_faults() {
    proof(|vm| {
        let run = |text: &str| load(vm, program(text)).run(&FRAME).unwrap().r0;
        let min = "r0 = 0x8000000000000000 ll";
        for (begin, op, expected) in [
            ("r0 = 7\nr1 = 0", "r0 /= r1", 0),
            ("r0 = 7\nr1 = 0", "r0 %= r1", 7),
            ("r0 = 7\nr1 = 0", "w0 /= w1", 0),
            ("r0 = 7\nr1 = 0", "w0 %= w1", 7),
            ("r0 = 7\nr1 = 0", "r0 s/= r1", 0),
            ("r0 = 7\nr1 = 0", "r0 s%= r1", 7),
            (&format!("{min}\nr1 = -1"), "r0 s/= r1", 1 << 63),
            (&format!("{min}\nr1 = -1"), "r0 s%= r1", 0),
            ("r0 = 0x80000000 ll\nr1 = -1", "w0 s/= w1", 1 << 31),
            ("r0 = 0x80000000 ll\nr1 = -1", "w0 s%= w1", 0),
        ] {
            assert_eq!(
                run(&format!("{begin}\n{op}\nexit")),
                expected,
                "{begin}\n{op}"
            );
        }
    });
}

#[test]
fn endless_tail_calls_are_counted() {
    proof(|vm| {
        let table = vm.create_map(MapSpec::prog_array("table", 1)).unwrap();
        let fd = table.as_raw_fd();
        let text = format!("r2 = map[id:{fd}]\nr3 = 0\ncall bpf_tail_call\nr0 = 33\nexit");
        let spec = ProgramSpec::xdp(program(&text)).name("attack");
        let itself = vm.load(spec).unwrap();
        let value = itself.as_raw_fd().to_ne_bytes();
        table.insert(&[0; 4], &value).unwrap();
        assert_eq!(itself.run(&FRAME).unwrap().r0, 33);
    });
}
