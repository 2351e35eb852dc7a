//! Programs on several CPUs and the host use one map at a time, here and in the
//! kernel. Where each keeps to its own keys, answers and contents are those of the
//! sequence alone; where they share, nothing is lost and nothing comes twice.

use super::pair::vm;
use bpf_core::asm::assemble;
use bpf_core::uapi::{MapType, ProgType, map_flags};
use bpfvisor::{Map, MapSpec, Program, ProgramSpec, Vm};
use bpfvisor_tests::generate::Rng;
use bpfvisor_tests::kernel;
use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

/// Who works on a map: as many programs, and the host.
const PROGRAMS: usize = 2;
const ROUNDS: usize = 1500;

/// One side: a map, and programs that do what their packet says.
trait Side: Sync {
    /// A program's run over 64 bytes; what it returns.
    fn run(&self, packet: &[u8]) -> i32;
    fn update(&self, key: &[u8], value: &[u8]) -> Result<(), i32>;
    fn delete(&self, key: &[u8]) -> Result<(), i32>;
    fn lookup(&self, key: &[u8]) -> Result<Option<Vec<u8>>, i32>;
    /// Of a queue.
    fn take(&self) -> Result<Option<Vec<u8>>, i32>;
    fn contents(&self) -> BTreeMap<Vec<u8>, Vec<u8>>;
}

struct Ours(Map, Program);
struct Theirs(kernel::Map, kernel::Prog);

impl Side for Ours {
    fn run(&self, packet: &[u8]) -> i32 {
        self.1.run(packet).unwrap().retval as i32
    }
    fn update(&self, key: &[u8], value: &[u8]) -> Result<(), i32> {
        self.0.update(key, value, 0).map_err(|e| e.errno())
    }
    fn delete(&self, key: &[u8]) -> Result<(), i32> {
        self.0.remove(key).map_err(|e| e.errno())
    }
    fn lookup(&self, key: &[u8]) -> Result<Option<Vec<u8>>, i32> {
        self.0.get(key).map_err(|e| e.errno())
    }
    fn take(&self) -> Result<Option<Vec<u8>>, i32> {
        self.0.lookup_and_delete(&[]).map_err(|e| e.errno())
    }
    fn contents(&self) -> BTreeMap<Vec<u8>, Vec<u8>> {
        self.0.iter().map(|e| e.unwrap()).collect()
    }
}

impl Side for Theirs {
    fn run(&self, packet: &[u8]) -> i32 {
        self.1.run(&kernel::RunSpec::data(packet)).unwrap().retval as i32
    }
    fn update(&self, key: &[u8], value: &[u8]) -> Result<(), i32> {
        self.0.update(key, value, 0).map_err(|e| e.errno)
    }
    fn delete(&self, key: &[u8]) -> Result<(), i32> {
        self.0.delete(key).map_err(|e| e.errno)
    }
    fn lookup(&self, key: &[u8]) -> Result<Option<Vec<u8>>, i32> {
        self.0.lookup(key).map_err(|e| e.errno)
    }
    fn take(&self) -> Result<Option<Vec<u8>>, i32> {
        self.0.lookup_and_delete(&[]).map_err(|e| e.errno)
    }
    fn contents(&self) -> BTreeMap<Vec<u8>, Vec<u8>> {
        self.0.entries().unwrap().into_iter().collect()
    }
}

/// r6 and r7 are the packet's begin and end, of which 24 bytes are there.
const BEGIN: &str = "r6 = *(u32 *)(r1 +0)\nr7 = *(u32 *)(r1 +4)\nr2 = r6\nr2 += 24\n\
    if r2 > r7 goto out\nr8 = *(u64 *)(r6 +0)\nr3 = *(u64 *)(r6 +8)\n*(u64 *)(r10 -8) = r3\n\
    r3 = *(u64 *)(r6 +16)\n*(u64 *)(r10 -16) = r3\nr1 = map[id:MAP]\nr2 = r10\n";

/// Says what came of updating, deleting or looking up.
const KEYED: &str = "r2 += -8\nif r8 == 1 goto update\nif r8 == 2 goto delete\n\
    call bpf_map_lookup_elem\nif r0 == 0 goto none\nr0 = *(u32 *)(r0 +0)\nexit\nnone:\nr0 = -2\n\
    exit\nupdate:\nr3 = r10\nr3 += -16\nr4 = 0\ncall bpf_map_update_elem\nexit\n\
    delete:\ncall bpf_map_delete_elem\nexit\nout:\nr0 = -99\nexit\n";

/// Pushes, or says what was popped.
const QUEUED: &str = "r2 += -16\nif r8 == 1 goto push\ncall bpf_map_pop_elem\nif r0 != 0 goto done\n\
    r0 = *(u32 *)(r10 -16)\ndone:\nexit\npush:\nr3 = 0\ncall bpf_map_push_elem\nexit\n\
    out:\nr0 = -99\nexit\n";

/// Adds one to the value, of this CPU where each has its own.
const COUNTED: &str = "r2 += -8\ncall bpf_map_lookup_elem\nif r0 == 0 goto out\nr1 = 1\n\
    lock *(u64 *)(r0 +0) += r1\nr0 = 0\nexit\nout:\nr0 = -99\nexit\n";

/// Sends the second and the third word.
const SENT: &str = "r2 += -16\nr3 = 16\nr4 = 0\ncall bpf_ringbuf_output\nexit\n\
    out:\nr0 = -99\nexit\n";

/// The same map and program on both sides.
fn sides(vm: &Vm, spec: MapSpec, body: &str) -> (Ours, Theirs) {
    kernel::require().unwrap();
    let theirs = kernel::MapSpec::new(
        spec.map_type,
        spec.key_size,
        spec.value_size,
        spec.max_entries,
    );
    let theirs = kernel::Map::create(&theirs.flags(spec.flags)).unwrap();
    let ours = vm.create_map(spec).unwrap();
    let code = |fd: i32| assemble(&format!("{BEGIN}{body}").replace("MAP", &fd.to_string()));
    let program = vm.load(ProgramSpec::xdp(code(ours.as_raw_fd()).unwrap()));
    let insns = code(theirs.as_raw_fd()).unwrap();
    let their_program = kernel::Prog::load(&kernel::ProgSpec::new(ProgType::Xdp, &insns));
    (
        Ours(ours, program.unwrap()),
        Theirs(theirs, their_program.unwrap()),
    )
}

fn packet(op: u64, key: u64, value: u64) -> [u8; 64] {
    let mut p = [0; 64];
    for (at, word) in [op, key, value].into_iter().enumerate() {
        p[8 * at..8 * at + 8].copy_from_slice(&word.to_ne_bytes());
    }
    p
}

/// A key of one of those who work: the last is the host. A trie's has its length
/// in front; arrays have few.
fn key(map_type: MapType, who: usize, n: u64) -> u64 {
    let own = who as u64 * 16 + n;
    match map_type {
        // In network order, so that the keys share prefixes.
        MapType::LpmTrie => (32 - n % 3) | (u64::from((own as u32).swap_bytes()) << 32),
        _ => own,
    }
}

/// What one of those who work gets to see.
fn work(side: &dyn Side, map_type: MapType, who: usize) -> Vec<i32> {
    let mut rng = Rng::new(who as u64 + 1);
    let key_size = if map_type == MapType::Array { 4 } else { 8 };
    let one = |_| {
        let key = key(map_type, who, rng.below(16));
        let value = rng.below(1 << 31);
        let op = rng.below(3);
        if who < PROGRAMS {
            return side.run(&packet(op, key, value));
        }
        let key = &key.to_ne_bytes()[..key_size];
        match op {
            0 => match side.lookup(key) {
                Ok(Some(v)) => i32::from_ne_bytes(v[..4].try_into().unwrap()),
                Ok(None) => -libc::ENOENT,
                Err(e) => -e,
            },
            1 => side
                .update(key, &value.to_ne_bytes())
                .map_or_else(|e| -e, |()| 0),
            _ => side.delete(key).map_or_else(|e| -e, |()| 0),
        }
    };
    (0..ROUNDS).map(one).collect()
}

#[test]
fn each_with_its_own_keys() {
    let vm = vm();
    for (map_type, key_size, flags) in [
        (MapType::Hash, 8, 0),
        (MapType::Hash, 8, map_flags::NO_PREALLOC),
        (MapType::LruHash, 8, 0),
        (MapType::LpmTrie, 8, map_flags::NO_PREALLOC),
        (MapType::Array, 4, 0),
    ] {
        // LRU maps with room for all throw nothing away.
        let max = if map_type == MapType::LruHash {
            4096
        } else {
            64
        };
        let spec = MapSpec::new("m", map_type, key_size, 8, max).flags(flags);
        let (ours, theirs) = sides(&vm, spec, KEYED);
        let seen = [&ours as &dyn Side, &theirs].map(|side| {
            std::thread::scope(|s| {
                let all: Vec<_> = (0..=PROGRAMS)
                    .map(|who| s.spawn(move || work(side, map_type, who)))
                    .collect();
                let all = all.into_iter().map(|t| t.join().unwrap());
                all.collect::<Vec<_>>()
            })
        });
        assert!(seen[0] == seen[1], "{map_type:?} {flags}: other answers");
        assert_eq!(ours.contents(), theirs.contents(), "{map_type:?} {flags}");
    }
}

/// Values that went in and came out, by all.
fn pass(side: &dyn Side) {
    let passed = std::thread::scope(|s| {
        let one = |who: usize| {
            let mut rng = Rng::new(who as u64 + 9);
            let (mut put, mut got) = (Vec::new(), Vec::new());
            for n in 0..ROUNDS {
                let value = (who * ROUNDS + n) as u64;
                match (rng.below(2), who < PROGRAMS) {
                    (0, true) => match side.run(&packet(1, 0, value)) {
                        0 => put.push(value),
                        e => assert_eq!(e, -libc::E2BIG),
                    },
                    (0, false) => match side.update(&[], &value.to_ne_bytes()) {
                        Ok(()) => put.push(value),
                        e => assert_eq!(e, Err(libc::E2BIG)),
                    },
                    (_, true) => match side.run(&packet(0, 0, 0)) {
                        v if v >= 0 => got.push(v as u64),
                        e => assert_eq!(e, -libc::ENOENT),
                    },
                    (_, false) => {
                        let taken = side.take().unwrap();
                        got.extend(taken.map(|v| u64::from_ne_bytes(v.try_into().unwrap())));
                    }
                }
            }
            (put, got)
        };
        let all: Vec<_> = (0..=PROGRAMS)
            .map(|who| s.spawn(move || one(who)))
            .collect();
        let all = all.into_iter().map(|t| t.join().unwrap());
        all.collect::<Vec<_>>()
    });
    let mut put: BTreeSet<u64> = passed.iter().flat_map(|p| p.0.clone()).collect();
    let rest = std::iter::from_fn(|| side.take().unwrap());
    let rest = rest.map(|v| u64::from_ne_bytes(v.try_into().unwrap()));
    for value in passed.iter().flat_map(|p| p.1.clone()).chain(rest) {
        assert!(put.remove(&value), "{value} came twice, or from nowhere");
    }
    assert!(put.is_empty(), "lost: {put:?}");
}

#[test]
fn what_is_pushed_is_popped_once() {
    let vm = vm();
    for map_type in [MapType::Queue, MapType::Stack] {
        for max in [3, 4000] {
            let (ours, theirs) = sides(&vm, MapSpec::new("m", map_type, 0, 8, max), QUEUED);
            pass(&ours);
            pass(&theirs);
        }
    }
}

#[test]
fn no_count_is_lost() {
    let vm = vm();
    for map_type in [
        MapType::Hash,
        MapType::LruHash,
        MapType::Array,
        MapType::PercpuHash,
        MapType::PercpuArray,
        MapType::LruPercpuHash,
    ] {
        let (ours, theirs) = sides(&vm, MapSpec::new("m", map_type, 4, 8, 4), COUNTED);
        let zeros = vec![0; ours.0.value_len()];
        for side in [&ours as &dyn Side, &theirs] {
            side.update(&[1, 0, 0, 0], &zeros).unwrap();
            std::thread::scope(|s| {
                for _ in 0..=PROGRAMS {
                    s.spawn(|| {
                        (0..ROUNDS).for_each(|_| assert_eq!(side.run(&packet(0, 1, 0)), 0));
                    });
                }
            });
            let counts = side.lookup(&[1, 0, 0, 0]).unwrap().unwrap();
            let counts = counts
                .chunks(8)
                .map(|c| u64::from_ne_bytes(c.try_into().unwrap()));
            let right = (PROGRAMS + 1) * ROUNDS;
            assert_eq!(counts.sum::<u64>(), right as u64, "{map_type:?}");
        }
    }
}

/// Records of several producers while they are taken: each producer's are in
/// order, and as many as it was told.
fn stream(side: &dyn Side, mut drain: impl FnMut(&mut dyn FnMut(&[u8])) + Send) {
    let (mut last, mut counts) = ([0u64; PROGRAMS + 1], [0usize; PROGRAMS + 1]);
    let mut take = |record: &[u8]| {
        let word = |at: usize| u64::from_ne_bytes(record[at..at + 8].try_into().unwrap());
        let (n, who) = (word(0), word(8) as usize);
        assert!(n > last[who], "{n} of {who} after {}", last[who]);
        last[who] = n;
        counts[who] += 1;
    };
    let done = AtomicBool::new(false);
    let sent: Vec<usize> = std::thread::scope(|s| {
        let producers: Vec<_> = (0..=PROGRAMS)
            .map(|who| {
                s.spawn(move || {
                    let run = |n| side.run(&packet(0, who as u64, n as u64));
                    (1..=ROUNDS).filter(|n| run(*n) == 0).count()
                })
            })
            .collect();
        s.spawn(|| {
            while !done.load(SeqCst) {
                drain(&mut take);
            }
            drain(&mut take);
        });
        let sent: Vec<_> = producers.into_iter().map(|p| p.join()).collect();
        done.store(true, SeqCst);
        sent.into_iter().map(|s| s.unwrap()).collect()
    });
    assert_eq!(sent, counts);
}

#[test]
fn records_of_several_producers() {
    const SIZE: u32 = 4096;
    let vm = vm();
    let spec = MapSpec::ringbuf("r", SIZE);
    let (ours, theirs) = sides(&vm, spec, SENT);
    let mut ring = ours.0.ring_buffer().unwrap();
    stream(&ours, |each| {
        ring.drain(each);
    });
    let mut ring = theirs.0.ring(SIZE).unwrap();
    stream(&theirs, |each| {
        ring.drain(each);
    });
}
