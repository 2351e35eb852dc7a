//! Programs on several vCPUs change a map while the host reads it. Needs /dev/kvm.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use bpf_core::insn::Insn;
use bpf_core::uapi::{MapType, map_flags};
use bpfvisor::{Map, MapSpec, Program, ProgramSpec, TestRun, Vm};
use bpfvisor_tests::generate::Rng;
use std::collections::HashMap;
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

const TIME: Duration = Duration::from_millis(1000);

fn vm(unverified: bool, vcpus: u32) -> Vm {
    let builder = Vm::builder().memory(64 << 20).vcpus(vcpus);
    let builder = if unverified {
        builder.verifier_off()
    } else {
        builder
    };
    builder
        .boot()
        .unwrap_or_else(|e| panic!("these tests need a usable /dev/kvm: {e}"))
}

fn insn(opcode: u8, dst: u8, src: u8, off: i16, imm: i32) -> Insn {
    Insn::new(opcode, dst, src, off, imm)
}

/// Updates (and half of the time deletes) a random one of the keys `first..first
/// + 256` with a value of four equal words.
fn changer(vm: &Vm, map: &Map, first: i32) -> Program {
    // A trie's key is a number of bits before the same four bytes.
    let key_at = if map.key_size() == 8 { -8 } else { -4 };
    let insns = vec![
        insn(0x62, 10, 0, -8, 32),
        insn(0x85, 0, 0, 0, 7), // r6 = bpf_get_prandom_u32()
        insn(0xbf, 6, 0, 0, 0),
        insn(0xbf, 1, 6, 0, 0), // key = first + (r6 & 255)
        insn(0x57, 1, 0, 0, 255),
        insn(0x07, 1, 0, 0, first),
        insn(0x63, 10, 1, -4, 0),
        insn(0x7b, 10, 6, -40, 0),
        insn(0x7b, 10, 6, -32, 0),
        insn(0x7b, 10, 6, -24, 0),
        insn(0x7b, 10, 6, -16, 0),
        insn(0x18, 1, 1, 0, map.as_raw_fd()),
        insn(0, 0, 0, 0, 0),
        insn(0xbf, 2, 10, 0, 0),
        insn(0x07, 2, 0, 0, key_at),
        insn(0x57, 6, 0, 0, 256), // if r6 & 256: delete
        insn(0x55, 6, 0, 5, 0),
        insn(0xbf, 3, 10, 0, 0),
        insn(0x07, 3, 0, 0, -40),
        insn(0xb7, 4, 0, 0, 0),
        insn(0x85, 0, 0, 0, 2),
        insn(0x05, 0, 0, 1, 0),
        insn(0x85, 0, 0, 0, 3),
        insn(0xb7, 0, 0, 0, 2),
        insn(0x95, 0, 0, 0, 0),
    ];
    vm.load(ProgramSpec::xdp(insns)).unwrap()
}

fn run_on(program: &Program, stop: &AtomicBool) {
    while !stop.load(Relaxed) {
        let data = &[0; 64];
        program
            .test_run(&TestRun {
                data,
                repeat: 2000,
                ..TestRun::default()
            })
            .unwrap();
    }
}

/// Keys below this are put in before and stay.
const KEPT: u32 = 500;

fn whole(value: &[u8]) -> bool {
    value.chunks(8).all(|w| w == &value[..8])
}

fn key(map: &Map, n: u32) -> Vec<u8> {
    match map.key_size() {
        8 => [32u32.to_ne_bytes(), n.to_ne_bytes()].concat(),
        _ => n.to_ne_bytes().to_vec(),
    }
}

/// One look at the whole map, by walk or by batches: how often each key was met.
fn look(map: &Map, batches: bool) -> HashMap<u32, u32> {
    let mut seen = HashMap::new();
    let mut meet = |key: &[u8], value: &[u8]| {
        let key = u32::from_ne_bytes(key[key.len() - 4..].try_into().unwrap());
        assert!(whole(value), "torn: {key} {value:?}");
        assert!(key < KEPT || changing(key), "a phantom: {key}");
        *seen.entry(key).or_insert(0) += 1;
        if key < KEPT {
            assert_eq!(value[..8], u64::from(key).to_ne_bytes());
        }
    };
    if !batches {
        for element in map.iter() {
            let Ok((key, value)) = element else { continue };
            meet(&key, &value);
        }
        return seen;
    }
    let mut from = None;
    loop {
        let batch = map.lookup_batch(from.as_ref(), 256).unwrap();
        let values = batch.values.chunks(map.value_len());
        for (k, v) in batch.keys.chunks(map.key_size()).zip(values) {
            meet(k, v);
        }
        from = batch.next;
        if from.is_none() {
            return seen;
        }
    }
}

/// Whether programs change a key: 256 from each thousand.
fn changing(key: u32) -> bool {
    (1000..5000).contains(&key) && key % 1000 < 256
}

/// `once`: walks meet every key that stays once (a trie's walk begins anew where
/// its last key is gone).
fn stress(map: &Map, programs: &[Program], once: bool) {
    for k in 0..KEPT {
        map.insert(&key(map, k), &u64::from(k).to_ne_bytes().repeat(4))
            .unwrap();
    }
    let stop = AtomicBool::new(false);
    std::thread::scope(|s| {
        for p in programs {
            s.spawn(|| run_on(p, &stop));
        }
        let end = Instant::now() + TIME;
        let mut walks = 0;
        while Instant::now() < end {
            for batches in [false, true] {
                let seen = look(map, batches && once);
                for k in (0..KEPT).filter(|_| once) {
                    assert_eq!(seen.get(&k), Some(&1), "a key that stays: {k}");
                }
            }
            for k in 0..KEPT {
                let value = map.get(&key(map, k)).unwrap().expect("a key that stays");
                assert_eq!(value[..8], u64::from(k).to_ne_bytes());
                if let Some(v) = map.get(&key(map, 1000 + k % 256)).unwrap() {
                    assert!(whole(&v), "torn");
                }
            }
            walks += 1;
        }
        stop.store(true, Relaxed);
        assert!(walks > 1, "only {walks} walks");
    });
}

#[test]
fn no_torn_value_no_lost_key_no_phantom() {
    for vcpus in [2, 4] {
        let vm = vm(false, vcpus);
        // LRU maps with room for all throw nothing away.
        for spec in [
            MapSpec::hash("m", 4, 32, 2000),
            MapSpec::hash("m", 4, 32, 2000).flags(map_flags::NO_PREALLOC),
            MapSpec::lru_hash("m", 4, 32, 4000),
            MapSpec::lpm_trie("m", 8, 32, 2000),
        ] {
            let once = spec.map_type != MapType::LpmTrie;
            let map = vm.create_map(spec).unwrap();
            let firsts = (1..=vcpus).map(|n| n as i32 * 1000);
            let programs: Vec<_> = firsts.map(|f| changer(&vm, &map, f)).collect();
            stress(&map, &programs, once);
        }
    }
}

/// How long each type is scribbled on: a quarter of a second, or as many seconds
/// as `SCRIBBLE_SECONDS` says.
fn scribbling() -> Duration {
    let seconds = std::env::var("SCRIBBLE_SECONDS");
    let seconds = seconds.ok().and_then(|s| s.parse().ok());
    seconds.map_or(Duration::from_millis(250), Duration::from_secs)
}

/// An unverified program writes anywhere into the storage of the map while the
/// host reads: wrong values or errors, but it ends, and nothing panics.
#[test]
fn scribbled_storage_gives_answers_not_harm() {
    let vm = vm(true, 2);
    let base = MapSpec::array("base", 8, 1);
    // Storage is given out from the top of the slot: nothing is mapped above it.
    let _guard = vm.create_map(MapSpec::array("guard", 8, 8192)).unwrap();
    let inner = vm.create_map(base.clone()).unwrap();
    let specs = [
        MapSpec::hash("h", 4, 32, 500),
        MapSpec::hash("h", 13, 5, 300).flags(map_flags::NO_PREALLOC),
        MapSpec::lru_hash("l", 4, 32, 500),
        MapSpec::percpu_hash("ph", 4, 8, 300),
        MapSpec::lru_percpu_hash("lp", 4, 8, 300),
        MapSpec::array("a", 12, 500),
        MapSpec::percpu_array("pa", 8, 500),
        MapSpec::lpm_trie("t", 8, 8, 200),
        MapSpec::ringbuf("r", 4096),
        MapSpec::queue("q", 8, 500),
        MapSpec::new("s", MapType::Stack, 0, 13, 500),
        MapSpec::new("b", MapType::BloomFilter, 0, 8, 5000),
        MapSpec::array_of_maps("am", &inner, 500),
        MapSpec::hash_of_maps("hm", 4, &inner, 300),
        MapSpec::prog_array("p", 500),
    ];
    let time = scribbling();
    let mut rng = Rng::new(1);
    for spec in specs {
        let before = vm.create_map(base.clone()).unwrap();
        let map = vm.create_map(spec).unwrap();
        let after = vm.create_map(base.clone()).unwrap();
        let mut ring = map.ring_buffer().ok();
        let (end, mut rounds) = (Instant::now() + time, 0u64);
        while Instant::now() < end {
            // Storage is given out side by side, so what is written past either
            // neighbour's element lies in the map.
            for neighbour in [&before, &after] {
                let off = rng.within(-12_000, 12_000) as i32 & !7;
                let insns = vec![
                    insn(0x18, 1, 2, 0, neighbour.as_raw_fd()),
                    insn(0, 0, 0, 0, 0),
                    insn(0x18, 2, 0, 0, rng.number() as i32),
                    insn(0, 0, 0, 0, rng.imm()),
                    insn(0x07, 1, 0, 0, off),
                    insn(0x7b, 1, 2, 0, 0),
                    insn(0xb7, 0, 0, 0, 0),
                    insn(0x95, 0, 0, 0, 0),
                ];
                let program = vm.load(ProgramSpec::xdp(insns)).unwrap();
                program.run(&[0; 64]).unwrap();
            }
            let key = vec![rng.below(255) as u8; map.key_size()];
            let _ = map.update(&key, &vec![1; map.value_size()], 0);
            let _ = map.get(&key);
            let _ = map.next_key(Some(&key));
            assert!(map.keys().take(100_000).count() < 100_000);
            assert!(map.iter().take(100_000).count() < 100_000);
            let _ = map.lookup_batch(None, 64);
            let _ = map.remove(&key);
            if let Some(ring) = &mut ring {
                assert!(ring.drain(|_| ()) < 100_000);
            }
            rounds += 1;
        }
        println!("{:?}: {rounds} rounds", map.map_type());
        assert!(vm.is_alive());
    }
}
