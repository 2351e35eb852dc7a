//! Many VMs, many threads, everything at once, for as long as one likes:
//!
//!     cargo run --release -p bpfvisor-tests --bin bpfvisor-soak -- --seconds 60
//!
//! Threads boot VMs (`--vms`, 100 alive at a time), load and unload programs, churn
//! maps, run packets, kill VMs from inside (their verifier is off, they are
//! rebuilt), have KVM fail, and drop descriptors of objects that live on; all threads
//! are interrupted by signals all the time; clients of a daemon in this process are
//! killed at any moment. Every packet is accounted for: a counter is what its callers
//! counted. At the end descriptors, threads and memory are level. Needs /dev/kvm.
//!
//! `--memory 20` boots so many idle VMs and says what each takes; `--rebuilds 200` has
//! VMs die so many times and says how long it takes until they are back.

mod clients;
mod figures;
mod storm;

use bpfvisor::{Error, Map, MapSpec, Program, ProgramSpec, Recovery, Vm};
use bpfvisor_tests::attack::{FRAME, program};
use bpfvisor_tests::generate::Rng;
use clients::Killed;
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// What was done, and what came of it.
#[derive(Default)]
struct Totals {
    boots: AtomicU64,
    packets: AtomicU64,
    loads: AtomicU64,
    maps: AtomicU64,
    faults: AtomicU64,
    retries: AtomicU64,
    rebuilt: AtomicU64,
    refused: AtomicU64,
    /// How long the latest rebuildings of each VM took.
    times: Mutex<Vec<Duration>>,
}

struct Tenant {
    vm: Vm,
    count: Map,
    churn: Map,
    counter: Program,
    deadly: Program,
    /// Runs that were answered, and runs that may or may not have happened.
    answered: u64,
    unsure: u64,
}

fn boot() -> bpfvisor::Result<Tenant> {
    let vm = Vm::builder().memory(6 << 20).heap(4 << 20).verifier_off();
    let vm = vm.recovery(Recovery::KeepMaps);
    let vm = vm.recovery_limit(u32::MAX, Duration::from_secs(1)).boot()?;
    let count = vm.create_map(MapSpec::array("count", 8, 1))?;
    let churn = vm.create_map(MapSpec::lru_hash("churn", 4, 16, 128))?;
    let fd = count.as_raw_fd();
    let text = format!(
        "r1 = map[id:{fd}][0]+0\nr0 = 1\nr0 = atomic64_fetch_add((u64 *)(r1 + 0), r0)\n\
         r0 += 1\nexit"
    );
    let counter = vm.load(ProgramSpec::xdp(program(&text)).name("counter"))?;
    let text = "r1 = 0\nr0 = *(u64 *)(r1 + 0)\nexit";
    let deadly = vm.load(ProgramSpec::xdp(program(text)).name("deadly"))?;
    Ok(Tenant {
        vm,
        count,
        churn,
        counter,
        deadly,
        answered: 0,
        unsure: 0,
    })
}

impl Tenant {
    /// One round of work.
    fn work(&mut self, rng: &mut Rng, t: &Totals) -> bpfvisor::Result<()> {
        match rng.below(16) {
            0..8 => self.packets(rng, t),
            8..11 => self.elements(rng, t),
            11 | 12 => self.objects(rng, t),
            13 => {
                let died = self.deadly.run(&FRAME);
                assert!(died.is_err(), "reading address 0 gave {died:?}");
                t.faults.fetch_add(1, Relaxed);
                Ok(())
            }
            14 => {
                self.vm.inject_fault("for the soak");
                t.faults.fetch_add(1, Relaxed);
                Ok(())
            }
            _ => {
                drop(self.vm.pause());
                Ok(())
            }
        }
    }

    fn packets(&mut self, rng: &mut Rng, t: &Totals) -> bpfvisor::Result<()> {
        for _ in 0..rng.below(64) {
            t.packets.fetch_add(1, Relaxed);
            match self.counter.run(&FRAME) {
                Ok(_) => self.answered += 1,
                Err(e) if e.is_retryable() => {
                    self.unsure += 1;
                    t.retries.fetch_add(1, Relaxed);
                }
                // On the vCPU that was made to fail.
                Err(Error::Guest(_)) => self.unsure += 1,
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    fn elements(&self, rng: &mut Rng, t: &Totals) -> bpfvisor::Result<()> {
        for _ in 0..rng.below(32) {
            let key = (rng.below(200) as u32).to_ne_bytes();
            t.maps.fetch_add(1, Relaxed);
            let done = match rng.below(3) {
                0 => self.churn.insert(&key, &[1; 16]),
                1 => self.churn.remove(&key),
                _ => self.churn.get(&key).map(drop),
            };
            if let Err(e @ (Error::Host(_) | Error::Timeout(_))) = done {
                return Err(e);
            }
        }
        Ok(())
    }

    fn objects(&self, rng: &mut Rng, t: &Totals) -> bpfvisor::Result<()> {
        t.loads.fetch_add(1, Relaxed);
        let map = self.vm.create_map(MapSpec::hash("new", 8, 8, 64));
        let Ok(map) = map else {
            t.refused.fetch_add(1, Relaxed);
            return Ok(());
        };
        let fd = map.as_raw_fd();
        let text = format!("r1 = map[id:{fd}]\nr0 = 2\nexit");
        let loaded = self.vm.load(ProgramSpec::xdp(program(&text)).name("new"));
        // The program keeps its map, whose descriptor is closed.
        drop(map);
        if let (Ok(new), false) = (loaded, rng.one_in(4)) {
            let _ = new.run(&FRAME);
        }
        Ok(())
    }

    /// Every packet went in once.
    fn settle(self, t: &Totals) {
        let value = self.count.get(&[0; 4]);
        if value.is_err() && self.vm.fault().is_some() {
            // It could not be rebuilt: there is no memory for it.
            t.refused.fetch_add(1, Relaxed);
            return;
        }
        let value = value.ok().flatten().unwrap_or_default();
        let count = u64::from_ne_bytes(value.try_into().unwrap_or_default());
        let (low, high) = (self.answered, self.answered + self.unsure);
        assert!((low..=high).contains(&count), "{low} <= {count} <= {high}");
        t.rebuilt.fetch_add(self.vm.stats().recoveries, Relaxed);
        let reports = self.vm.recoveries();
        let mut times = t.times.lock().unwrap_or_else(PoisonError::into_inner);
        times.extend(reports.iter().map(|r| r.duration));
    }
}

fn tenant(mut rng: Rng, until: Instant, share: u64, t: &Totals) {
    let mut tenants = Vec::new();
    while Instant::now() < until {
        if (tenants.len() as u64) < share {
            match boot() {
                Ok(new) => tenants.push(new),
                // Out of descriptors, or memory: as it is for others, too.
                Err(_) => drop(t.refused.fetch_add(1, Relaxed)),
            }
            t.boots.fetch_add(1, Relaxed);
        }
        let Some(at) = (rng.word() as usize).checked_rem(tenants.len()) else {
            continue;
        };
        let one = &mut tenants[at];
        if one.work(&mut rng, t).is_err() {
            t.refused.fetch_add(1, Relaxed);
        }
        if rng.one_in(200) {
            tenants.swap_remove(at).settle(t);
        }
    }
    tenants.into_iter().for_each(|one| one.settle(t));
}

/// Descriptors, threads, resident KiB.
fn usage() -> [u64; 3] {
    let count = |path: &str| std::fs::read_dir(path).map_or(0, |d| d.count() as u64);
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let rss = status.lines().find_map(|l| l.strip_prefix("VmRSS:"));
    let rss = rss.and_then(|l| l.trim().split(' ').next()?.parse().ok());
    let (fds, threads) = (count("/proc/self/fd"), count("/proc/self/task"));
    [fds, threads, rss.unwrap_or(0)]
}

fn number(args: &[String], name: &str, default: u64) -> u64 {
    let at = args.iter().position(|a| a == name);
    let value = at.and_then(|at| args.get(at + 1)?.parse().ok());
    value.unwrap_or(default)
}

/// Everything at once; what was done to the clients.
fn soak(args: &[String], totals: &Totals) -> Killed {
    let threads = number(args, "--threads", 4).max(1);
    let share = number(args, "--vms", 100).div_ceil(threads);
    let seed = number(args, "--seed", 1);
    let until = Instant::now() + Duration::from_secs(number(args, "--seconds", 60));
    let (over, killed) = (AtomicBool::new(false), Killed::default());
    let daemon = clients::Daemon::start();
    std::thread::scope(|scope| {
        let over = &over;
        scope.spawn(|| storm::rage(over));
        let mut work = Vec::new();
        for n in 0..threads {
            let rng = Rng::new(seed + n);
            work.push(scope.spawn(move || tenant(rng, until, share, totals)));
        }
        if let Ok(daemon) = &daemon {
            let (path, killed) = (&daemon.path, &killed);
            for n in 0..2 {
                let rng = Rng::new(seed + threads + n);
                work.push(scope.spawn(move || clients::kill(rng, until, path, n, killed)));
            }
        }
        let done: Vec<_> = work.into_iter().map(|thread| thread.join()).collect();
        over.store(true, Relaxed);
        assert!(done.iter().all(Result::is_ok), "a thread has panicked");
    });
    killed
}

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let has = |name: &str| args.iter().any(|a| a == name);
    if let [_, first, path, file] = args.as_slice()
        && first == "--client"
    {
        if let Err(e) = clients::client(path, file) {
            println!("a client: {e}");
        }
        return;
    }
    if has("--memory") {
        return figures::memory(number(&args, "--memory", 20));
    }
    if has("--rebuilds") {
        let done = figures::rebuilds(number(&args, "--rebuilds", 200).max(1));
        assert!(done.is_ok(), "{done:?}");
        return;
    }
    let totals = Totals::default();
    // What stays for good: the descriptors' watcher, this process's KVM.
    let begin = Instant::now();
    tenant(Rng::new(1), begin + Duration::from_millis(200), 2, &totals);
    std::thread::sleep(Duration::from_millis(200));
    let before = usage();
    let killed = soak(&args, &totals);
    let begin = Instant::now();
    let mut after = usage();
    while (after[0] > before[0] || after[1] > before[1]) && begin.elapsed().as_secs() < 10 {
        std::thread::sleep(Duration::from_millis(100));
        after = usage();
    }
    tell(&totals, &killed);
    println!(
        "descriptors {} to {}, threads {} to {}, memory {} to {} KiB",
        before[0], after[0], before[1], after[1], before[2], after[2]
    );
    assert!(
        after[0] <= before[0] && after[1] <= before[1],
        "something was left behind"
    );
    assert!(after[2] < before[2] + (64 << 10), "memory was left behind");
    assert!(totals.faults.load(Relaxed) == 0 || totals.rebuilt.load(Relaxed) > 0);
}

fn tell(totals: &Totals, killed: &Killed) {
    let get = |n: &AtomicU64| n.load(Relaxed);
    println!(
        "{} boots, {} packets (all accounted for), {} loads, {} map operations",
        get(&totals.boots),
        get(&totals.packets),
        get(&totals.loads),
        get(&totals.maps),
    );
    println!(
        "{} faults, {} rebuilt, {} calls to be made again, {} refused for want of something",
        get(&totals.faults),
        get(&totals.rebuilt),
        get(&totals.retries),
        get(&totals.refused),
    );
    println!(
        "{} clients killed after {} runs (all accounted for), {} signals",
        get(&killed.clients),
        get(&killed.runs),
        storm::count(),
    );
    let times = totals.times.lock();
    let mut times = times.unwrap_or_else(PoisonError::into_inner);
    println!("time to rebuild: {}", figures::spread(&mut times));
}
