//! A guest that writes whatever it likes, whenever it likes, to all that it shares
//! with the host: played by a thread of this process. Needs /dev/kvm.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

use bpfvisor::uapi::ProgType;
use bpfvisor::{Map, MapSpec, Program, Result, Vm};
use bpfvisor_abi::layout::{BOOT_INFO, QUEUE_BLOCK, QUEUES, dynamic, queue_block};
use bpfvisor_abi::ring::{ENTRIES, block};
use bpfvisor_tests::attack::{FRAME, Neighbour, load, program, settings, victim, works};
use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// No other VM of this process has as much.
const MEMORY: u64 = 6 << 20;
/// Longest time of one call on a busy host.
const LONGEST: Duration = Duration::from_secs(15);
/// How long each part of memory is scribbled on.
const TIME: Duration = Duration::from_millis(1500);

/// Shared memory as the guest has it: the file behind the one VM of this size.
fn shared_memory() -> File {
    let files = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
    let ours = |path: &std::path::PathBuf| {
        let name = std::fs::read_link(path).unwrap_or_default();
        let size = std::fs::metadata(path).map_or(0, |m| m.size());
        size == MEMORY && name.to_string_lossy().contains("bpfvisor-shared")
    };
    let path = files.map(|entry| entry.path()).find(ours).unwrap();
    File::options().read(true).write(true).open(path).unwrap()
}

/// Numbers that look random and are the same each time (xorshift).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// A word of a kind that guests might write.
    fn word(&mut self) -> u64 {
        match self.next() % 6 {
            0 => 0,
            1 => u64::MAX,
            2 => self.next() % 256,
            3 => (self.next() % 64) | ((self.next() % 64) << 32),
            4 => 1 << (self.next() % 64),
            _ => self.next(),
        }
    }

    fn within(&mut self, range: &Range<u64>) -> u64 {
        (range.start + self.next() % (range.end - range.start - 8)) & !3
    }
}

/// A VM, and things in it to use.
struct Target {
    vm: Vm,
    programs: Vec<Program>,
    maps: Vec<Map>,
}

impl Target {
    fn new(memory: u64) -> Result<Self> {
        let vm = settings().memory(memory).boot()?;
        let programs = ["r0 = 1\nexit", "r0 = r1\nexit"];
        let programs = programs.map(|text| load(&vm, program(text))).into();
        let specs = [
            MapSpec::hash("hash", 4, 8, 100),
            MapSpec::lru_hash("lru", 4, 8, 32),
            MapSpec::array("array", 8, 64),
            MapSpec::lpm_trie("lpm", 8, 8, 50),
            MapSpec::queue("queue", 8, 8),
            MapSpec::ringbuf("ring", 4096),
        ];
        let maps = specs.into_iter().map(|spec| vm.create_map(spec));
        Ok(Self {
            maps: maps.collect::<Result<_>>()?,
            vm,
            programs,
        })
    }

    /// One call of each kind; how many gave a value.
    fn use_once(&self, n: u8) -> usize {
        let mut good = 0;
        let mut ask = |what: &str, answer: &mut dyn FnMut() -> bool| {
            let begin = Instant::now();
            good += usize::from(answer());
            assert!(
                begin.elapsed() < LONGEST,
                "{what} took {:?}",
                begin.elapsed()
            );
        };
        for program in &self.programs {
            ask("run", &mut || program.run(&FRAME).is_ok());
            ask("batch", &mut || program.run_batch(&[&FRAME[..]; 3]).is_ok());
            ask("dump", &mut || program.jited().is_ok());
        }
        for map in &self.maps {
            let key = vec![n % 16; map.key_size()];
            let value = vec![n; map.value_len()];
            ask("update", &mut || map.insert(&key, &value).is_ok());
            ask("lookup", &mut || map.get(&key).is_ok());
            ask("walk", &mut || map.iter().take(300).all(|e| e.is_ok()));
            ask("keys", &mut || map.keys().take(300).all(|k| k.is_ok()));
            ask("delete", &mut || map.remove(&key).is_ok());
            ask("take", &mut || map.lookup_and_delete(&key).is_ok());
        }
        ask("create", &mut || {
            self.vm.create_map(MapSpec::array("one", 8, 1)).is_ok()
        });
        ask("buffer", &mut || {
            self.vm.packet_buffer(ProgType::Xdp, 2, 64).is_ok()
        });
        ask("trace", &mut || self.vm.take_trace().len() < 1 << 20);
        good
    }
}

/// Uses a VM while a thread scribbles on part of its memory; a new VM whenever
/// one dies. How many calls gave a value, and how many VMs died.
fn scribble(part: &Range<u64>, seed: u64) -> (usize, usize) {
    let (mut good, mut deaths) = (0, 0);
    let begin = Instant::now();
    let mut random = Random(seed);
    while begin.elapsed() < TIME {
        let target = Target::new(MEMORY).unwrap();
        let file = shared_memory();
        let over = AtomicBool::new(false);
        let mut scribbler = Random(random.next());
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    let word = scribbler.word().to_ne_bytes();
                    let len = 4 << (scribbler.next() % 2);
                    file.write_all_at(&word[..len], scribbler.within(part))
                        .unwrap();
                    if scribbler.next().is_multiple_of(16) {
                        std::thread::sleep(Duration::from_micros(50));
                    }
                }
            });
            let mut n = 0;
            while begin.elapsed() < TIME && target.vm.is_alive() {
                n += 1;
                good += target.use_once(n as u8);
            }
            over.store(true, Ordering::Relaxed);
        });
        if let Some(report) = target.vm.fault() {
            deaths += 1;
            assert!(!report.to_string().is_empty());
        }
    }
    (good, deaths)
}

/// The parts of memory, and whether a VM can live on when they are scribbled on.
#[test]
fn a_guest_that_writes_at_random_gets_nothing_but_errors() {
    let completions = queue_block(0) + block::COMPLETIONS;
    let parts = [
        ("maps and packets", dynamic(1)..MEMORY),
        ("upper memory", MEMORY - (256 << 10)..MEMORY),
        ("the whole queue block", QUEUES..QUEUES + QUEUE_BLOCK),
        ("its header", QUEUES..QUEUES + 0x140),
        (
            "completions",
            completions..completions + u64::from(ENTRIES) * 64,
        ),
        (
            "the trace ring",
            queue_block(0) + block::TRACE_HEAD..queue_block(0) + block::TRACE_HEAD + 16,
        ),
        ("the boot record", BOOT_INFO..BOOT_INFO + 96),
        ("everything", 0..MEMORY),
    ];
    for (seed, (name, part)) in (0x9e37_79b9_7f4a_7c15..).zip(parts) {
        let (good, deaths) = Neighbour::beside(|| scribble(&part, seed));
        println!("{name}: {good} calls gave a value, {deaths} VMs died");
        assert!(good > 0 || deaths > 0, "{name}: nothing happened");
    }
    works(&victim());
}

/// Positive control: without scribbling all calls but those without meaning give
/// values.
#[test]
fn an_honest_guest_answers() {
    let target = Target::new(8 << 20).unwrap();
    for n in 1..20 {
        let good = target.use_once(n);
        assert!(good >= 30, "{good}");
    }
    assert!(target.vm.is_alive());
}
