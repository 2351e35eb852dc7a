//! Map operations of the host beside the kernel's `bpf(2)`, and ring buffers.
//!
//! `cargo bench -p bpfvisor-tests --bench maps` (as root, with /dev/kvm; times
//! are the median of several rounds, in nanoseconds per operation). A part of a
//! row's name as argument chooses rows.
#![allow(clippy::unwrap_used, missing_docs)]

#[path = "support/walker.rs"]
mod walker;

use bpf_core::insn::Insn;
use bpf_core::uapi::{Cmd, MapType, ProgType, map_flags};
use bpfvisor::{Map, MapSpec, ProgramSpec, TestRun, Vm};
use bpfvisor_tests::generate::Rng;
use bpfvisor_tests::kernel;
use std::hint::black_box;
use std::os::fd::AsRawFd;
use std::sync::atomic::{
    AtomicBool,
    Ordering::{Acquire, Release},
};
use std::time::Instant;
use walker::{LOOKUP, STEPS, UPDATE, walker};

const ROUNDS: usize = 7;
/// Deletes a key.
const DELETE: &str = "r1 = map[id:MAP]\nr2 = r10\nr2 += -4\ncall bpf_map_delete_elem\n";

/// Median of rounds, ns per operation.
fn time(ops: u32, mut round: impl FnMut()) -> f64 {
    let mut times: Vec<f64> = (0..ROUNDS)
        .map(|_| {
            let begin = Instant::now();
            round();
            begin.elapsed().as_nanos() as f64 / f64::from(ops)
        })
        .collect();
    times.sort_by(f64::total_cmp);
    times[ROUNDS / 2]
}

fn row(name: &str, ours: f64, theirs: f64, bar: f64) {
    let ratio = theirs / ours;
    let verdict = if ratio >= bar { "ok" } else { "BELOW" };
    println!("{name:<34} {ours:>9.1} {theirs:>9.1} {ratio:>7.1}x   bar {bar:>4}x {verdict}");
}

struct Bench {
    vm: Vm,
    filter: Option<String>,
}

impl Bench {
    fn wants(&self, name: &str) -> bool {
        self.filter.as_deref().is_none_or(|f| name.contains(f))
    }

    fn pair(&self, t: MapType, max: u32, flags: u32) -> (Map, kernel::Map) {
        let ours = MapSpec::new("m", t, 4, 8, max).flags(flags);
        let spec = kernel::MapSpec::new(t, 4, 8, max).flags(flags);
        (
            self.vm.create_map(ours).unwrap(),
            kernel::Map::create(&spec).unwrap(),
        )
    }

    fn hash(&self, name: &str, keys: u32, bar: f64) {
        if !self.wants(name) {
            return;
        }
        let (ours, theirs) = self.pair(MapType::Hash, keys, 0);
        let all: Vec<u8> = (0..keys).flat_map(u32::to_le_bytes).collect();
        let values: Vec<u8> = (0..keys).flat_map(|k| u64::from(k).to_le_bytes()).collect();
        for (k, v) in all.chunks(4 << 16).zip(values.chunks(8 << 16)) {
            let (_, done) = ours.update_batch(k, v, 0);
            done.unwrap();
            let done = theirs.batch(
                Cmd::MapUpdateBatch,
                None,
                &mut k.to_vec(),
                &mut v.to_vec(),
                0,
            );
            done.0.unwrap();
        }
        let mut rng = Rng::new(1);
        let picked: Vec<[u8; 4]> = (0..100_000)
            .map(|_| (rng.below(keys.into()) as u32).to_le_bytes())
            .collect();
        let mut value = [0; 8];
        let a = time(100_000, || {
            for k in &picked {
                assert!(ours.get_into(black_box(k), &mut value).unwrap());
            }
        });
        let b = time(100_000, || lookups(&theirs, &picked));
        row(&format!("{name} lookup"), a, b, bar);
    }

    fn changes(&self) {
        if !self.wants("update delete next walk") {
            return;
        }
        let (ours, theirs) = self.pair(MapType::Hash, 1 << 16, 0);
        let keys: Vec<[u8; 4]> = (0..20_000u32).map(u32::to_le_bytes).collect();
        let update = (
            time(20_000, || {
                keys.iter().for_each(|k| ours.insert(k, &[1; 8]).unwrap())
            }),
            time(20_000, || {
                keys.iter()
                    .for_each(|k| theirs.update(k, &[1; 8], 0).unwrap())
            }),
        );
        row("hash update", update.0, update.1, 1.0);
        let next = (
            time(20_000, || assert_eq!(ours.keys().count(), 20_000)),
            time(20_000, || {
                let mut key = theirs.next_key(None).unwrap();
                while let Some(k) = key {
                    key = theirs.next_key(Some(&k)).unwrap();
                }
            }),
        );
        row("hash next_key", next.0, next.1, 8.0);
        let walk = (
            time(20_000, || assert_eq!(ours.iter().count(), 20_000)),
            time(20_000, || batches(&theirs)),
        );
        row("hash walk (kernel: lookup batch)", walk.0, walk.1, 1.0);
        let delete = (
            self.deletes(
                &keys,
                |k| ours.insert(k, &[1; 8]).unwrap(),
                |k| ours.remove(k).unwrap(),
            ),
            self.deletes(
                &keys,
                |k| theirs.update(k, &[1; 8], 0).unwrap(),
                |k| theirs.delete(k).unwrap(),
            ),
        );
        row("hash delete", delete.0, delete.1, 1.0);
        let flat = keys.concat();
        let values = vec![1; 8 * keys.len()];
        let batch = (
            time(20_000, || ours.update_batch(&flat, &values, 0).1.unwrap()),
            time(20_000, || {
                let done = theirs.batch(
                    Cmd::MapUpdateBatch,
                    None,
                    &mut flat.clone(),
                    &mut values.clone(),
                    0,
                );
                done.0.unwrap();
            }),
        );
        row("hash update batch", batch.0, batch.1, 1.0);
    }

    fn deletes(&self, keys: &[[u8; 4]], put: impl Fn(&[u8]), delete: impl Fn(&[u8])) -> f64 {
        let mut times: Vec<f64> = (0..ROUNDS)
            .map(|_| {
                keys.iter().for_each(|k| put(k));
                let begin = Instant::now();
                keys.iter().for_each(|k| delete(k));
                begin.elapsed().as_nanos() as f64 / keys.len() as f64
            })
            .collect();
        times.sort_by(f64::total_cmp);
        times[ROUNDS / 2]
    }

    fn arrays(&self) {
        if !self.wants("array") {
            return;
        }
        let (ours, theirs) = self.pair(MapType::Array, 1024, map_flags::MMAPABLE);
        let keys: Vec<[u8; 4]> = (0..1024u32)
            .cycle()
            .take(100_000)
            .map(u32::to_le_bytes)
            .collect();
        let mut value = [0; 8];
        let a = time(100_000, || {
            for k in &keys {
                ours.get_into(black_box(k), &mut value).unwrap();
            }
        });
        row(
            "array lookup",
            a,
            time(100_000, || lookups(&theirs, &keys)),
            8.0,
        );
        let view = ours.mmap().unwrap();
        let a = time(100_000, || {
            for i in 0..100_000usize {
                black_box(view.load(black_box(i & 1023) * 8));
            }
        });
        // What a read of an array that is mapped costs.
        let plain = vec![0u64; 1024];
        let b = time(100_000, || {
            for i in 0..100_000usize {
                black_box(black_box(&plain)[black_box(i & 1023)]);
            }
        });
        row("array read, mapped (plain memory)", a, b, 0.3);
    }

    /// What programs do with random keys of a full map.
    fn in_program(&self, keys: u32) {
        for (what, step, each) in [
            ("lookup", LOOKUP.to_owned(), 1),
            ("update", UPDATE.to_owned(), 1),
            ("delete, insert", format!("{DELETE}{UPDATE}"), 2),
        ] {
            let name = format!("program: hash {keys} {what}");
            if !self.wants(&name) {
                continue;
            }
            let (ours, theirs) = self.pair(MapType::Hash, keys, 0);
            for k in (0..keys)
                .map(u32::to_le_bytes)
                .collect::<Vec<_>>()
                .chunks(1 << 16)
            {
                let (mut k, mut v) = (k.concat(), vec![1; 8 * k.len()]);
                ours.update_batch(&k, &v, 0).1.unwrap();
                let done = theirs.batch(Cmd::MapUpdateBatch, None, &mut k, &mut v, 0);
                done.0.unwrap();
            }
            let a = walker(ours.as_raw_fd(), keys, &step);
            let a = self.vm.load(ProgramSpec::xdp(a)).unwrap();
            let b = walker(theirs.as_raw_fd(), keys, &step);
            let b = kernel::Prog::load(&kernel::ProgSpec::new(ProgType::Xdp, &b)).unwrap();
            let run = TestRun {
                data: &[0; 64],
                repeat: 8,
                ..TestRun::default()
            };
            let their_run = kernel::RunSpec {
                repeat: 8,
                ..kernel::RunSpec::data(&[0; 64])
            };
            let mut times = [Vec::new(), Vec::new()];
            for _ in 0..ROUNDS * 9 {
                times[0].push(a.test_run(&run).unwrap().duration);
                times[1].push(b.run(&their_run).unwrap().duration);
            }
            let [ours, theirs] = times.map(|mut t| {
                t.sort_unstable();
                t[t.len() / 2].as_nanos() as f64 / f64::from(STEPS * each)
            });
            row(&name, ours, theirs, 2.0);
        }
    }

    /// A program sends records of `size` bytes and another thread takes them: in
    /// turn on both sides, so that the ring never overflows; then both at a time.
    fn ring(&self, size: u32) {
        let name = format!("ring {size} B");
        if !self.wants(&name) {
            return;
        }
        let map = self.vm.create_map(MapSpec::ringbuf("r", RING)).unwrap();
        let theirs = kernel::MapSpec::new(MapType::Ringbuf, 0, 0, RING);
        let theirs = kernel::Map::create(&theirs).unwrap();
        let program = ProgramSpec::xdp(sender(map.as_raw_fd(), size));
        let program = self.vm.load(program).unwrap();
        let insns = sender(theirs.as_raw_fd(), size);
        let their_program = kernel::ProgSpec::new(ProgType::Xdp, &insns);
        let their_program = kernel::Prog::load(&their_program).unwrap();
        let mut ours = Ours(map.ring_buffer().unwrap(), &program);
        let mut theirs = Theirs(theirs.ring(RING).unwrap(), &their_program);
        let count = RING / 2 / (size + 8);
        let mut times = [(); 4].map(|()| Vec::new());
        for _ in 0..ROUNDS * 3 {
            for (n, side) in [&mut ours as &mut dyn Side<'_>, &mut theirs]
                .iter_mut()
                .enumerate()
            {
                // The producer is another thread on both sides.
                let took = std::thread::scope(|s| {
                    let producer = side.producer();
                    s.spawn(move || producer(count)).join().unwrap()
                });
                times[2 * n].push(took);
                let begin = Instant::now();
                assert_eq!(side.drain(), count as usize);
                times[2 * n + 1].push(begin.elapsed().as_nanos() as f64 / f64::from(count));
            }
        }
        let [a, b, c, d] = times.map(|mut t| {
            t.sort_by(f64::total_cmp);
            t[t.len() / 2]
        });
        row(&format!("{name} produce"), a, c, 1.0);
        row(&format!("{name} consume"), b, d, 0.0);
        let exits = self.vm.stats().exits;
        let mut rates = [Vec::new(), Vec::new()];
        for _ in 0..ROUNDS {
            rates[0].push(stream(&mut ours));
            rates[1].push(stream(&mut theirs));
        }
        let [a, b] = rates.map(|mut r| {
            r.sort_by(f64::total_cmp);
            r[r.len() / 2]
        });
        // Nanoseconds per record, so that all rows read alike.
        row(&format!("{name} stream"), 1e9 / a, 1e9 / b, 1.0);
        println!(
            "{:<34} {:.2} and {:.2} M records/s, {} exits",
            "",
            a / 1e6,
            b / 1e6,
            self.vm.stats().exits - exits
        );
    }
}

/// Bytes of a ring.
const RING: u32 = 1 << 20;

/// One side's ring, its consumer and its producer.
trait Side<'a> {
    /// Takes what is there; how many records that was.
    fn drain(&mut self) -> usize;

    /// Sends so many records, and gives the nanoseconds that one took.
    fn producer(&self) -> Box<dyn Fn(u32) -> f64 + Send + Sync + 'a>;
}

struct Ours<'a>(bpfvisor::RingBuffer, &'a bpfvisor::Program);
struct Theirs<'a>(kernel::Ring, &'a kernel::Prog);

impl<'a> Side<'a> for Ours<'a> {
    fn drain(&mut self) -> usize {
        self.0.drain(|r| {
            black_box(r);
        })
    }

    fn producer(&self) -> Box<dyn Fn(u32) -> f64 + Send + Sync + 'a> {
        let program = self.1;
        Box::new(move |repeat| {
            let run = TestRun {
                data: &[0; 64],
                repeat,
                ..TestRun::default()
            };
            program.test_run(&run).unwrap().duration.as_nanos() as f64
        })
    }
}

impl<'a> Side<'a> for Theirs<'a> {
    fn drain(&mut self) -> usize {
        let mut copy = Vec::new();
        self.0.drain(|r| {
            // The consumer of ours gets a copy, too.
            copy.clear();
            copy.extend_from_slice(r);
            black_box(&copy);
        })
    }

    fn producer(&self) -> Box<dyn Fn(u32) -> f64 + Send + Sync + 'a> {
        let program = self.1;
        Box::new(move |repeat| {
            let run = kernel::RunSpec {
                repeat,
                ..kernel::RunSpec::data(&[0; 64])
            };
            program.run(&run).unwrap().duration.as_nanos() as f64
        })
    }
}

/// Records per second that come through while a thread sends them.
fn stream<'a>(side: &mut dyn Side<'a>) -> f64 {
    const PARTS: u32 = 10;
    let done = AtomicBool::new(false);
    let mut got = 0;
    let begin = Instant::now();
    let producer = side.producer();
    std::thread::scope(|s| {
        s.spawn(|| {
            (0..PARTS).for_each(|_| {
                producer(20_000);
            });
            done.store(true, Release);
        });
        while !done.load(Acquire) {
            got += side.drain();
        }
    });
    got as f64 / begin.elapsed().as_secs_f64()
}

fn lookups(map: &kernel::Map, keys: &[[u8; 4]]) {
    for k in keys {
        assert!(map.lookup(k).unwrap().is_some());
    }
}

fn batches(map: &kernel::Map) {
    let (mut keys, mut values) = (vec![0; 4 * 256], vec![0; 8 * 256]);
    let mut from: Option<Vec<u8>> = None;
    loop {
        let (done, n, next) = map.batch(
            Cmd::MapLookupBatch,
            from.as_deref(),
            &mut keys,
            &mut values,
            0,
        );
        black_box(n);
        if done.is_err() {
            return;
        }
        from = Some(next);
    }
}

/// bpf_ringbuf_output of `size` bytes of the stack, nobody to be woken.
fn sender(fd: i32, size: u32) -> Vec<Insn> {
    let i = Insn::new;
    let mut p = vec![i(0xb7, 1, 0, 0, 7)];
    p.extend((0..size as i16 / 8).map(|n| i(0x7b, 10, 1, -8 * (n + 1), 0)));
    p.extend([
        i(0x18, 1, 1, 0, fd),
        i(0, 0, 0, 0, 0),
        i(0xbf, 2, 10, 0, 0),
        i(0x07, 2, 0, 0, -(size as i32)),
        i(0xb7, 3, 0, 0, size as i32),
        i(0xb7, 4, 0, 0, 1),
        i(0x85, 0, 0, 0, 130),
        i(0xb7, 0, 0, 0, 2),
        i(0x95, 0, 0, 0, 0),
    ]);
    p
}

fn main() {
    kernel::require().unwrap();
    let filter = std::env::args().skip(1).find(|a| !a.starts_with("--"));
    let vm = Vm::builder().memory(512 << 20).boot().unwrap();
    let bench = Bench { vm, filter };
    println!("{:<34} {:>9} {:>9}", "ns per operation", "ours", "kernel");
    bench.hash("hash 1K", 1000, 8.0);
    bench.hash("hash 1M", 1_000_000, 4.0);
    bench.arrays();
    bench.changes();
    for keys in [1000, 64_000, 1_000_000] {
        bench.in_program(keys);
    }
    for size in [8, 64, 512] {
        bench.ring(size);
    }
}
