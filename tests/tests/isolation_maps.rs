//! Maps whose storage programs fill with garbage, and memory that runs out, in
//! VMs without verifier. They need /dev/kvm.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

use bpfvisor::uapi::{MapType, errno};
use bpfvisor::{Error, Map, MapSpec, Program, ProgramSpec, Result, Vm};
use bpfvisor_abi::layout::{SHARED, dynamic};
use bpfvisor_tests::attack::{FRAME, load, program, proof, settings, victim, works};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

/// Bytes of shared memory.
const MEMORY: u64 = 4 << 20;
/// Longest time that one operation on a map may take: the budget, then the
/// attempts to cut it short, on a busy host.
const LONGEST: Duration = Duration::from_secs(15);

/// Fills memory with random words `w & and | or`: input from, to, seed, and, or.
const FILL: &str = "
        r6 = *(u64 *)(r1 + 0)
        r7 = *(u64 *)(r1 + 8)
        r8 = *(u64 *)(r1 + 16)
        r4 = *(u64 *)(r1 + 24)
        r5 = *(u64 *)(r1 + 32)
    again:
        r2 = r8
        r2 <<= 13
        r8 ^= r2
        r2 = r8
        r2 >>= 7
        r8 ^= r2
        r2 = r8
        r2 <<= 17
        r8 ^= r2
        r2 = r8
        r2 &= r4
        r2 |= r5
        *(u64 *)(r6 + 0) = r2
        r6 += 8
        if r6 < r7 goto again
";

/// What memory is filled with: bits that may be set, bits that are.
const PATTERNS: [(u64, u64); 2] = [(u64::MAX, 0), (0x0000_0007_0000_0007, 0)];

/// Memory that holds packets and maps but not the queues.
const MAPS: (u64, u64) = (SHARED + dynamic(2), SHARED + MEMORY);

fn input((from, to): (u64, u64), seed: u64, (and, or): (u64, u64)) -> Vec<u8> {
    [from, to, seed | 1, and, or]
        .into_iter()
        .flat_map(u64::to_ne_bytes)
        .collect()
}

fn filler(vm: &Vm, end: &str) -> Program {
    let spec = ProgramSpec::flat(program(&format!("{FILL}{end}"))).flat_memory(40, 40);
    vm.load(spec.name("filler")).unwrap()
}

/// One map of every type, with some elements.
fn maps(vm: &Vm) -> Vec<Map> {
    let inner = vm.create_map(MapSpec::array("inner", 8, 4)).unwrap();
    let target = load(vm, program("r0 = 0\nexit"));
    let specs = [
        MapSpec::hash("hash", 4, 8, 200),
        MapSpec::lru_hash("lru", 4, 8, 64),
        MapSpec::percpu_hash("percpu_hash", 4, 8, 64),
        MapSpec::lru_percpu_hash("lru_percpu", 4, 8, 64),
        MapSpec::array("array", 8, 200),
        MapSpec::percpu_array("percpu_array", 8, 20),
        MapSpec::lpm_trie("lpm", 8, 8, 100),
        MapSpec::queue("queue", 8, 16),
        MapSpec::ringbuf("ring", 4096),
        MapSpec::array_of_maps("outer", &inner, 4),
        MapSpec::hash_of_maps("hash_outer", 4, &inner, 4),
        MapSpec::prog_array("table", 4),
        MapSpec::new("bloomless", MapType::Hash, 64, 300, 20),
    ];
    let maps: Vec<_> = specs.map(|spec| vm.create_map(spec).unwrap()).into();
    for map in &maps {
        for n in 0..4u32 {
            let filled = match map.map_type() {
                MapType::ArrayOfMaps | MapType::HashOfMaps => {
                    map.insert(&key(map, n), &inner.as_raw_fd().to_ne_bytes())
                }
                MapType::ProgArray => map.insert(&key(map, n), &target.as_raw_fd().to_ne_bytes()),
                MapType::Ringbuf => Ok(()),
                _ => map.insert(&key(map, n), &vec![n as u8; map.value_len()]),
            };
            filled.unwrap();
        }
    }
    maps
}

fn key(map: &Map, n: u32) -> Vec<u8> {
    let mut key = vec![0; map.key_size()];
    for (to, from) in key.iter_mut().zip(n.to_ne_bytes()) {
        *to = from;
    }
    key
}

/// Values or errors, and in time.
fn timely<T>(what: &str, map: &Map, ask: impl FnOnce() -> T) -> T {
    let begin = Instant::now();
    let answer = ask();
    let took = begin.elapsed();
    assert!(took < LONGEST, "{what} of {} took {took:?}", map.name());
    answer
}

/// All that the host can do to a map.
fn use_up(map: &Map) {
    let bound = map.max_entries() as usize * 2 + 16;
    if let Ok(Some(value)) = timely("lookup", map, || map.get(&key(map, 2))) {
        assert_eq!(value.len(), map.value_len());
    }
    let keys = timely("keys", map, || map.keys().count());
    assert!(keys <= bound, "{keys} keys of {}", map.name());
    let elements = timely("walk", map, || map.iter().take(bound + 1).count());
    // A bucket that claims the same element again and again is cut off.
    assert!(elements <= bound, "{elements} elements of {}", map.name());
    let value = vec![9; map.value_len()];
    let _ = timely("update", map, || map.insert(&key(map, 2), &value));
    let _ = timely("delete", map, || map.remove(&key(map, 1)));
    let _ = timely("take", map, || map.lookup_and_delete(&key(map, 3)));
}

#[test]
fn storage_of_garbage_gives_values_or_errors() {
    for (round, pattern) in (1..).zip(PATTERNS) {
        proof(|_| {
            let vm = settings().vcpus(2).memory(MEMORY).boot().unwrap();
            let maps = maps(&vm);
            // Positive control: the contents are right before.
            assert_eq!(maps[0].get(&key(&maps[0], 2)).unwrap().unwrap(), [2; 8]);
            assert_eq!((maps[0].keys().count(), maps[0].iter().count()), (4, 4));
            let fill = filler(&vm, "r0 = 1\nexit");
            assert_eq!(
                fill.run(&input(MAPS, round, pattern)).map(|out| out.r0),
                Ok(1)
            );
            maps.iter().for_each(use_up);
            if vm.is_alive() {
                works(&vm);
            }
        });
    }
}

#[test]
fn storage_that_changes_while_it_is_read_gives_values_or_errors() {
    let begin = Instant::now();
    let mut round = 0;
    while begin.elapsed() < Duration::from_secs(2) {
        round += 1;
        let vm = settings().vcpus(2).memory(MEMORY).boot().unwrap();
        let maps = maps(&vm);
        // The upper half: above the packets, so that the input stays.
        let range = (SHARED + MEMORY / 2, SHARED + MEMORY);
        let endless = filler(&vm, "r6 = 0x40200000 ll\ngoto again\nexit");
        let pattern = PATTERNS[round % PATTERNS.len()];
        let scribble = input(range, round as u64, pattern);
        std::thread::scope(|scope| {
            let scribbler = scope.spawn(|| endless.run(&scribble));
            while !scribbler.is_finished() && vm.is_alive() {
                maps.iter().for_each(use_up);
            }
            assert!(scribbler.join().unwrap().is_err());
        });
    }
    works(&victim());
}

/// Makes things until there is no room, then frees them: nothing may be left.
fn exhaust<T>(vm: &Vm, allowed: &[i32], make: impl Fn(usize) -> Result<T>) {
    let before = vm.stats().objects;
    let mut kept = Vec::new();
    let full = loop {
        match make(kept.len()) {
            Ok(thing) => kept.push(thing),
            Err(e) => break e,
        }
        assert!(kept.len() < 100_000, "there is no end");
    };
    assert!(
        allowed.contains(&full.errno()),
        "after {}: {full}",
        kept.len()
    );
    assert!(vm.is_alive());
    let objects = vm.stats().objects;
    assert!(!kept.is_empty());
    // Again refused, and again nothing half-made.
    assert!(make(kept.len()).is_err());
    assert_eq!(vm.stats().objects, objects);
    let count = kept.len();
    drop(kept);
    // Objects go when the last copy of their descriptor is seen to be closed.
    let begin = Instant::now();
    while vm.stats().objects > before && begin.elapsed() < LONGEST {
        std::thread::sleep(Duration::from_millis(1));
    }
    works(vm);
    let again: Vec<_> = (0..count).map(&make).collect();
    let failed = again.iter().filter(|made| made.is_err()).count();
    assert_eq!(failed, 0, "of {count}");
}

#[test]
fn maps_up_to_the_last_byte_are_refused_and_not_half_made() {
    proof(|vm| {
        exhaust(vm, &[errno::ENOMEM], |n| {
            vm.create_map(MapSpec::array(&format!("map{n}"), 4096, 100))
        });
    });
}

#[test]
fn programs_up_to_the_last_byte_are_refused_and_not_half_made() {
    let long: String = (0..20_000).map(|n| format!("r0 = {n}\n")).collect();
    let long = program(&format!("{long}exit"));
    proof(|vm| {
        exhaust(vm, &[errno::ENOMEM, errno::E2BIG], |_| {
            vm.load(ProgramSpec::xdp(long.clone()).name("long"))
        });
    });
}

#[test]
fn packets_up_to_the_last_byte_are_refused() {
    proof(|vm| {
        exhaust(vm, &[errno::ENOMEM], |_| {
            vm.packet_buffer(bpfvisor::uapi::ProgType::Xdp, 64, 1500)
        });
    });
}

#[test]
fn forged_map_pointers_harm_that_vm_alone() {
    for pointer in [
        "0 ll",
        "r10",
        "0x4141414141414141 ll",
        "0x40000000 ll",
        "0x18000000 ll",
    ] {
        proof(|vm| {
            let text = format!(
                "*(u64 *)(r10 - 8) = r1
                 r1 = {pointer}
                 r2 = r10
                 r2 += -8
                 call bpf_map_lookup_elem
                 if r0 == 0 goto out
                 r0 = *(u64 *)(r0 + 0)
             out:
                 r0 = 0
                 exit"
            );
            match load(vm, program(&text)).run(&FRAME) {
                Ok(out) => assert_eq!(out.r0, 0),
                Err(Error::Guest(_)) => {
                    let report = vm.fault().unwrap();
                    assert_eq!(report.program.as_deref(), Some("attack"), "{report}");
                }
                Err(e) => assert!(matches!(e, Error::Timeout(_)), "{e}"),
            }
        });
    }
}

#[test]
fn handles_cannot_be_named_by_callers() {
    let vm = victim();
    let map = vm.create_map(MapSpec::array("map", 8, 1)).unwrap();
    let other = victim();
    for fd in [-1, 0, 1, 1 << 16, i32::MAX] {
        let text = format!("r1 = map[id:{}]\nr0 = 0\nexit", fd as u32);
        let refused = vm.load(ProgramSpec::xdp(program(&text))).unwrap_err();
        assert!(
            [errno::EBADF, errno::EINVAL].contains(&refused.errno()),
            "{fd}: {refused}"
        );
    }
    let text = format!("r1 = map[id:{}]\nr0 = 0\nexit", map.as_raw_fd());
    let refused = other.load(ProgramSpec::xdp(program(&text))).unwrap_err();
    assert_eq!(refused.errno(), errno::EXDEV);
    vm.load(ProgramSpec::xdp(program(&text))).unwrap();
}
