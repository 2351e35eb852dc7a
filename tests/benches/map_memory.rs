//! What a map's entries take, beside the kernel's account of its own maps.
//!
//! `cargo bench -p bpfvisor-tests --bench map_memory` (as root, with /dev/kvm)
//! prints a table: for each type of map with storage and some sizes of keys and
//! values, bytes per entry (ring buffer: per byte) of a map with all entries in
//! use.
//!
//! - given: out of the VM's shared memory, which is what its limit counts
//! - taken: of the host's memory, in whole pages (large maps: in huge ones)
//! - memlock: what /proc/self/fdinfo says of the kernel's map
//! - caches: what the kernel's general caches (`kmalloc-*`) gave meanwhile, to
//!   whomever: `memlock` leaves out what an allocator rounds up, and the nodes of a
//!   trie that hold no entry
#![allow(clippy::unwrap_used, missing_docs)]

use bpf_core::asm::assemble;
use bpf_core::uapi::{MapType, map_flags};
use bpfvisor::{Map, MapSpec, ProgramSpec, TestRun, Vm};
use bpfvisor_tests::kernel;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

/// A type, the size of its keys and values, flags, and how many entries.
struct Shape(MapType, u32, u32, u32, u32);

use MapType::*;

const MANY: u32 = 1 << 17;

#[rustfmt::skip]
const SHAPES: &[Shape] = &[
    Shape(Hash, 4, 8, 0, MANY),
    Shape(Hash, 4, 8, map_flags::NO_PREALLOC, MANY),
    Shape(Hash, 16, 64, 0, MANY),
    Shape(Hash, 16, 64, map_flags::NO_PREALLOC, MANY),
    Shape(Hash, 4, 8, 0, 1000),
    Shape(Hash, 4, 1, 0, 10),
    Shape(PercpuHash, 4, 8, 0, MANY),
    Shape(PercpuHash, 4, 8, map_flags::NO_PREALLOC, MANY),
    Shape(LruHash, 4, 8, 0, MANY),
    Shape(LruHash, 16, 64, 0, MANY),
    Shape(LruPercpuHash, 4, 8, 0, MANY),
    Shape(Array, 4, 8, 0, MANY),
    Shape(Array, 4, 13, 0, MANY),
    Shape(Array, 4, 8, map_flags::MMAPABLE, MANY),
    Shape(PercpuArray, 4, 8, 0, MANY),
    Shape(PercpuArray, 4, 100, 0, 1024),
    Shape(LpmTrie, 8, 8, map_flags::NO_PREALLOC, MANY),
    Shape(LpmTrie, 8, 1, map_flags::NO_PREALLOC, MANY),
    Shape(LpmTrie, 20, 16, map_flags::NO_PREALLOC, MANY),
    Shape(Queue, 0, 8, 0, MANY),
    Shape(Queue, 0, 13, 0, MANY),
    Shape(Stack, 0, 4, 0, MANY),
    Shape(Ringbuf, 0, 0, 0, 1 << 20),
    Shape(ProgArray, 4, 4, 0, 1 << 12),
    Shape(ArrayOfMaps, 4, 4, 0, 1 << 12),
    Shape(HashOfMaps, 4, 4, 0, 1 << 12),
    Shape(PerfEventArray, 4, 4, 0, 1 << 12),
    Shape(Devmap, 4, 4, 0, 1 << 12),
    Shape(DevmapHash, 4, 4, 0, 1 << 12),
    Shape(Cpumap, 4, 4, 0, 2),
    Shape(Xskmap, 4, 4, 0, 1 << 12),
    Shape(BloomFilter, 0, 8, 0, MANY),
];

/// The n-th key, spread over the trie where it is one.
fn key(shape: &Shape, n: u32) -> Vec<u8> {
    let size = shape.1 as usize;
    if shape.0 != LpmTrie {
        let mut key = n.to_ne_bytes().to_vec();
        key.resize(size, 0);
        return key;
    }
    let mut key = (8 * (shape.1 - 4)).to_ne_bytes().to_vec();
    key.extend(n.wrapping_mul(0x9e37_79b1).to_be_bytes());
    key.resize(size, 0);
    key
}

fn memlock(map: &kernel::Map) -> u64 {
    let path = format!("/proc/self/fdinfo/{}", map.as_raw_fd());
    let text = std::fs::read_to_string(path).unwrap();
    let line = text.lines().find_map(|l| l.strip_prefix("memlock:"));
    line.unwrap().trim().parse().unwrap()
}

/// Bytes of the objects in the kernel's general caches.
fn slab() -> u64 {
    let text = std::fs::read_to_string("/proc/slabinfo").unwrap();
    let general = text.lines().filter(|l| l.starts_with("kmalloc-"));
    let bytes = general.map(|l| {
        let mut fields = l.split_whitespace().skip(1).map(|f| f.parse::<u64>());
        let mut next = || fields.next().unwrap().unwrap();
        let (active, _, size) = (next(), next(), next());
        active * size
    });
    bytes.sum()
}

/// Bytes of the VM's shared memory that the host has given.
fn taken() -> u64 {
    let all = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
    let shared = all.map(|f| f.path()).find(|f| {
        let name = std::fs::read_link(f).unwrap_or_default();
        name.to_string_lossy().contains("bpfvisor-shared")
    });
    std::fs::metadata(shared.unwrap()).unwrap().blocks() * 512
}

/// Sends and takes records of 64 bytes until the ring was gone round twice.
fn go_round(vm: &Vm, map: &Map) {
    let text = format!(
        "r1 = map[id:{}]\nr2 = 64\nr3 = 0\ncall bpf_ringbuf_reserve\nif r0 == 0 goto out\n\
         r1 = r0\nr2 = 1\ncall bpf_ringbuf_submit\nout:\nr0 = 2\nexit\n",
        map.as_raw_fd()
    );
    let program = vm.load(ProgramSpec::xdp(assemble(&text).unwrap())).unwrap();
    let mut ring = map.ring_buffer().unwrap();
    for _ in 0..8 {
        let run = TestRun {
            data: &[0; 64],
            repeat: map.max_entries() / 4 / 72,
            ..TestRun::default()
        };
        program.test_run(&run).unwrap();
        ring.drain(|_| ());
    }
}

/// Of one shape, bytes: given out of the VM's memory, taken from the host, the
/// kernel's `memlock`, and what its general caches gave.
fn measure(vm: &Vm, shape: &Shape) -> [u64; 4] {
    let Shape(t, key_size, value_size, flags, max) = *shape;
    let inner = vm.create_map(MapSpec::array("inner", 8, 1)).unwrap();
    let their_inner = kernel::Map::create(&kernel::MapSpec::new(Array, 4, 8, 1)).unwrap();
    let of_maps = matches!(t, ArrayOfMaps | HashOfMaps);
    let (given_before, taken_before, slab_before) = (vm.stats().shared_used, taken(), slab());
    let spec = MapSpec::new("m", t, key_size, value_size, max).flags(flags);
    let spec = if of_maps { spec.inner(&inner) } else { spec };
    let ours = vm.create_map(spec).unwrap();
    let given = vm.stats().shared_used - given_before;
    let theirs = kernel::Map::create(&kernel::MapSpec {
        inner: of_maps.then_some(their_inner.as_fd()),
        ..kernel::MapSpec::new(t, key_size, value_size, max).flags(flags)
    });
    let theirs = theirs.unwrap();
    // The others take the same, full or empty.
    if flags & map_flags::NO_PREALLOC != 0 {
        let value = vec![1; theirs.value_len()];
        let keys: Vec<u8> = (0..max).flat_map(|n| key(shape, n)).collect();
        let all = value.repeat(max as usize);
        ours.update_batch(&keys, &all, 0).1.unwrap();
        for key in keys.chunks(key_size as usize) {
            theirs.update(key, &value, 0).unwrap();
        }
    }
    if t == DevmapHash {
        let loopback = 1u32.to_ne_bytes();
        for n in 0..max {
            theirs.update(&n.to_ne_bytes(), &loopback, 0).unwrap();
        }
    }
    if t == Ringbuf {
        go_round(vm, &ours);
    }
    let taken = taken().saturating_sub(taken_before);
    [
        given,
        taken,
        memlock(&theirs),
        slab().saturating_sub(slab_before),
    ]
}

fn main() {
    kernel::require().unwrap();
    let cpus = kernel::possible_cpus() as u32;
    println!(
        "| type | key | value | flags | entries | given | taken | memlock | caches | given / memlock |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|");
    for shape in SHAPES {
        // The kernel takes its time to free what the map before had.
        std::thread::sleep(Duration::from_millis(500));
        let vm = Vm::builder().memory(256 << 20).vcpus(cpus).boot().unwrap();
        let bytes = measure(&vm, shape);
        let Shape(t, key, value, flags, max) = shape;
        let [given, taken, memlock, slab] = bytes.map(|b| b as f64 / f64::from(*max));
        println!(
            "| {t:?} | {key} | {value} | {flags:#x} | {max} | {given:.1} | {taken:.1} | \
             {memlock:.1} | {slab:.1} | {:.2} |",
            given / memlock
        );
    }
}
