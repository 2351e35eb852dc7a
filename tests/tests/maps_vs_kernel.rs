//! Maps behave as the running kernel's: the same random sequence of operations,
//! from the host and from programs, gives the same errno and contents. Needs
//! root and /dev/kvm.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

#[path = "maps_vs_kernel/batches.rs"]
mod batches;
#[path = "maps_vs_kernel/bloom.rs"]
mod bloom;
#[path = "maps_vs_kernel/create.rs"]
mod create;
#[path = "maps_vs_kernel/devices.rs"]
mod devices;
#[path = "maps_vs_kernel/events.rs"]
mod events;
#[path = "maps_vs_kernel/links.rs"]
mod links;
#[path = "maps_vs_kernel/locks.rs"]
mod locks;
#[path = "maps_vs_kernel/lru.rs"]
mod lru;
#[path = "maps_vs_kernel/nested.rs"]
mod nested;
#[path = "maps_vs_kernel/pair.rs"]
mod pair;
#[path = "maps_vs_kernel/rings.rs"]
mod rings;
#[path = "maps_vs_kernel/together.rs"]
mod together;

use bpf_core::uapi::{MapType, ProgType, errno, map_flags};
use bpfvisor::{MapSpec, ProgramSpec};
use bpfvisor_tests::generate::Rng;
use bpfvisor_tests::kernel;
use pair::{Op, Pair, Shape, vm};
use std::os::fd::AsRawFd;

/// Keys and values that a sequence uses.
fn key(rng: &mut Rng, shape: &Shape) -> Vec<u8> {
    let size = shape.key as usize;
    match shape.map_type {
        MapType::Array | MapType::PercpuArray => (rng.below(u64::from(shape.max) + 2) as u32)
            .to_le_bytes()
            .to_vec(),
        MapType::LpmTrie => {
            let bits = (shape.key - 4) * 8;
            let mut key = (rng.below(u64::from(bits) + 2) as u32)
                .to_le_bytes()
                .to_vec();
            key.extend((4..size).map(|_| rng.pick(&[0u8, 1, 0x80, 0xc0, 0xff])));
            key
        }
        _ => {
            let mut key = vec![0; size];
            key.iter_mut()
                .take(1)
                .for_each(|b| *b = rng.below(24) as u8);
            key
        }
    }
}

fn value(rng: &mut Rng, shape: &Shape) -> Vec<u8> {
    let byte = rng.below(255) as u8;
    (0..shape.value)
        .map(|i| byte.wrapping_add(i as u8))
        .collect()
}

fn sequence(shape: Shape, seed: u64, rounds: u32) {
    let vm = vm();
    let pair = Pair::new(&vm, shape);
    let mut rng = Rng::new(seed);
    let queue = matches!(shape.map_type, MapType::Queue | MapType::Stack);
    for round in 0..rounds {
        let (k, v) = (key(&mut rng, &shape), value(&mut rng, &shape));
        let flags = rng.pick(&[0, 0, 0, 0, 1, 2, 3, 4, 8, 1 << 40]);
        let op = match rng.below(14) {
            0..=3 => Op::Update(k, v, flags),
            4 => Op::Delete(k),
            5 => Op::Lookup(k),
            6 => Op::Take(k),
            7 => Op::NextKey(k),
            8 => Op::UpdateBatch((0..3).map(|_| (key(&mut rng, &shape), v.clone())).collect()),
            9 => Op::DeleteBatch((0..2).map(|_| key(&mut rng, &shape)).collect()),
            10 if queue => Op::ProgPush(v, flags),
            11 if queue => Op::ProgPop,
            12 if queue => Op::ProgPeek,
            10 | 13 => Op::ProgUpdate(k, v, flags),
            11 => Op::ProgDelete(k),
            _ => Op::ProgLookup(k),
        };
        pair.check(&op, round);
        if round % 16 == 0 {
            pair.check_contents(round);
        }
    }
    pair.check_contents(rounds);
    pair.check_for_each();
    pair.check_frozen();
}

fn shape(map_type: MapType, key: u32, value: u32, max: u32, flags: u32) -> Shape {
    Shape {
        map_type,
        key,
        value,
        max,
        flags,
    }
}

#[test]
fn hash_tables() {
    for (i, (key, value, flags)) in [
        (4, 8, 0),
        (1, 3, 1),
        (13, 21, 0),
        (8, 40, 1),
        (64, 70, map_flags::ZERO_SEED),
    ]
    .into_iter()
    .enumerate()
    {
        sequence(shape(MapType::Hash, key, value, 9, flags), i as u64, 400);
    }
}

#[test]
fn lru_hash_tables_below_their_capacity() {
    for (seed, flags) in [(1, 0), (2, map_flags::NO_COMMON_LRU)] {
        for t in [MapType::LruHash, MapType::LruPercpuHash] {
            sequence(shape(t, 4, 8, 4096, flags), seed, 300);
        }
    }
}

#[test]
fn arrays() {
    for (seed, (value, max)) in [(8, 5), (3, 1), (17, 8)].into_iter().enumerate() {
        sequence(shape(MapType::Array, 4, value, max, 0), seed as u64, 300);
    }
    sequence(shape(MapType::Array, 4, 8, 5, map_flags::MMAPABLE), 9, 200);
}

#[test]
fn values_per_cpu() {
    sequence(shape(MapType::PercpuHash, 4, 12, 9, 0), 1, 300);
    sequence(
        shape(MapType::PercpuHash, 5, 8, 9, map_flags::NO_PREALLOC),
        2,
        300,
    );
    sequence(shape(MapType::PercpuArray, 4, 12, 6, 0), 3, 300);
}

#[test]
fn tries() {
    let flags = map_flags::NO_PREALLOC;
    for (seed, (key, value)) in [(8, 8), (5, 3), (20, 16)].into_iter().enumerate() {
        sequence(
            shape(MapType::LpmTrie, key, value, 12, flags),
            seed as u64,
            500,
        );
    }
}

#[test]
fn queues_and_stacks() {
    for (seed, t) in [(1, MapType::Queue), (2, MapType::Stack)] {
        sequence(shape(t, 0, 8, 5, 0), seed, 300);
        sequence(shape(t, 0, 13, 1, 0), seed, 100);
    }
}

/// Types whose maps may be for reading or writing only.
const DIRECTED: [(MapType, u32, u32); 9] = [
    (MapType::Hash, 4, 0),
    (MapType::Hash, 4, map_flags::NO_PREALLOC),
    (MapType::LruHash, 4, 0),
    (MapType::PercpuHash, 4, 0),
    (MapType::Array, 4, 0),
    (MapType::PercpuArray, 4, 0),
    (MapType::LpmTrie, 8, map_flags::NO_PREALLOC),
    (MapType::Queue, 0, 0),
    (MapType::Stack, 0, 0),
];

#[test]
fn maps_of_one_direction() {
    let vm = vm();
    for flags in [map_flags::RDONLY, map_flags::WRONLY] {
        for (t, key, more) in DIRECTED {
            // LRU maps with room for all throw nothing away.
            let max = if t == MapType::LruHash { 4096 } else { 4 };
            let pair = Pair::new(&vm, shape(t, key, 8, max, flags | more));
            let (k, v) = (vec![0; key as usize], vec![1; 8]);
            let mut ops = vec![
                Op::Update(k.clone(), v.clone(), 0),
                Op::Lookup(k.clone()),
                Op::NextKey(k.clone()),
                Op::Take(k.clone()),
                Op::UpdateBatch(vec![(k.clone(), v.clone())]),
                Op::Delete(k.clone()),
            ];
            ops.extend(match key {
                0 => [Op::ProgPush(v, 0), Op::ProgPeek, Op::ProgPop],
                _ => [
                    Op::ProgLookup(k.clone()),
                    Op::ProgUpdate(k.clone(), v, 0),
                    Op::ProgDelete(k),
                ],
            });
            for op in ops {
                pair.check(&op, 0);
            }
        }
    }
}

/// Which helpers programs may use on a map that they may only read or write.
#[test]
fn maps_of_one_direction_for_programs() {
    kernel::require().unwrap();
    let vm = vm();
    let both = map_flags::RDONLY_PROG | map_flags::WRONLY_PROG;
    for flags in [map_flags::RDONLY_PROG, map_flags::WRONLY_PROG, both] {
        for (t, key, more) in DIRECTED {
            let spec = kernel::MapSpec::new(t, key, 8, 4096).flags(flags | more);
            let theirs = kernel::Map::create(&spec);
            let ours = vm.create_map(MapSpec::new("m", t, key, 8, 4096).flags(flags | more));
            let what = format!("{t:?} {more:#x} {flags:#x}");
            let (Ok(ours), Ok(theirs)) = (&ours, &theirs) else {
                let ours = ours.map(drop).map_err(|e| e.errno());
                assert_eq!(ours, theirs.map(drop).map_err(|e| e.errno), "{what}");
                continue;
            };
            let io = vm.create_map(MapSpec::array("io", 160, 1)).unwrap();
            let their_io = kernel::MapSpec::new(MapType::Array, 4, 160, 1);
            let their_io = kernel::Map::create(&their_io).unwrap();
            for helper in if key == 0 { [87, 88, 89] } else { [1, 2, 3] } {
                let a = pair::program(helper, 8, ours.as_raw_fd(), io.as_raw_fd());
                let b = pair::program(helper, 8, theirs.as_raw_fd(), their_io.as_raw_fd());
                let a = vm.load(ProgramSpec::xdp(a));
                let b = kernel::Prog::load(&kernel::ProgSpec::new(ProgType::Xdp, &b));
                assert_eq!(
                    a.map(drop).map_err(|e| e.errno()),
                    b.map(drop).map_err(|r| r.error.errno),
                    "{what}, helper {helper}: ours, the kernel's"
                );
            }
        }
    }
}

#[test]
fn batches_end_where_the_kernels_do() {
    for t in [MapType::Hash, MapType::Array, MapType::LpmTrie] {
        let vm = vm();
        let (key, flags) = if t == MapType::LpmTrie {
            (8, map_flags::NO_PREALLOC)
        } else {
            (4, 0)
        };
        let pair = Pair::new(&vm, shape(t, key, 8, 6, flags));
        for count in [1, 3, 6, 7, 50] {
            pair.check_batches(count);
        }
        for i in 0..6u32 {
            let mut k = i.to_le_bytes().to_vec();
            if t == MapType::LpmTrie {
                k = [32u32.to_le_bytes(), i.to_be_bytes()].concat();
            }
            pair.check(&Op::Update(k, vec![i as u8; 8], 0), i);
        }
        for count in [6, 7, 50] {
            pair.check_batches(count);
        }
        if t == MapType::Hash {
            pair.check_taking_batch();
        }
    }
}

/// Values with a lock in them: `BPF_F_LOCK` is for them alone.
#[test]
fn a_lock_flag_needs_a_lock() {
    let vm = vm();
    let pair = Pair::new(&vm, shape(MapType::Hash, 4, 8, 4, 0));
    pair.check(&Op::Update(vec![0; 4], vec![1; 8], 4), 0);
    let e = pair.ours.update(&[0; 4], &[1; 8], 4).unwrap_err();
    assert_eq!(e.errno(), errno::EINVAL);
}
