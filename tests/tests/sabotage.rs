//! Every system call that boot, loading, running, rebuilding or the daemon need fails
//! once, each in a run of its own: for want of memory, for want of descriptors,
//! interrupted. Whatever comes of it is a value or a typed error in time; nothing is
//! left. Needs root and /dev/kvm.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

use bpfvisor::{Error, MapSpec, Recovery, Vm};
use bpfvisor_tests::attack::{FRAME, Neighbour, program, settings};
use bpfvisor_tests::saboteur::{Plan, Seen, sabotage};
use bpfvisor_vmm::daemon::{Policy, Server, listen};
use std::os::fd::AsRawFd;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// What is counted, is counted for the whole process.
static ALONE: Mutex<()> = Mutex::new(());

/// Longest time of one run on a busy machine.
const LONGEST: Duration = Duration::from_secs(20);

fn files() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

fn soon(what: &str, happened: impl Fn() -> bool) {
    let begin = Instant::now();
    while !happened() {
        assert!(begin.elapsed() < LONGEST, "{what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// A number of runs, or the text of a typed error.
type Answer = Result<u64, String>;

fn told(e: &Error) -> String {
    assert!((1..4096).contains(&e.errno()), "{e}");
    e.to_string()
}

/// What a VM is for, with a death in the middle.
fn use_vm(vm: &Vm) -> bpfvisor::Result<u64> {
    let map = vm.create_map(MapSpec::array("runs", 8, 1))?;
    let hash = vm.create_map(MapSpec::hash("hash", 4, 8, 64))?;
    let ring = vm.create_map(MapSpec::ringbuf("ring", 4096))?;
    let mut consumer = ring.ring_buffer()?;
    let (fd, events) = (map.as_raw_fd(), ring.as_raw_fd());
    let text = format!(
        "*(u64 *)(r10 - 8) = 5
         r1 = map[id:{events}]
         r2 = r10
         r2 += -8
         r3 = 8
         r4 = 0
         call bpf_ringbuf_output
         r1 = map[id:{fd}][0]+0
         r0 = 1
         r0 = atomic64_fetch_add((u64 *)(r1 + 0), r0)
         r0 += 1
         exit"
    );
    let spec = bpfvisor::ProgramSpec::xdp(program(&text));
    let counter = vm.load(spec.license("GPL").name("counter"))?;
    counter.run(&FRAME)?;
    hash.insert(&[1; 4], &[1; 8])?;
    counter.run_batch(&[&FRAME[..]; 3])?;
    consumer.next(Some(Duration::from_secs(5)))?;
    vm.inject_fault("in the middle");
    let last = loop {
        match counter.run(&FRAME) {
            Err(e) if e.is_retryable() => {}
            answer => break answer?,
        }
    };
    assert_eq!(hash.get(&[1; 4])?, Some(vec![1; 8]));
    Ok(last.r0)
}

/// What a client does. (Descriptors of a daemon in the same process name objects of
/// its VM, so no program uses a map here.)
fn use_remote(vm: &Vm) -> bpfvisor::Result<u64> {
    let hash = vm.create_map(MapSpec::hash("hash", 4, 8, 64))?;
    let ring = vm.create_map(MapSpec::ringbuf("ring", 4096))?;
    let mut consumer = ring.ring_buffer()?;
    let spec = bpfvisor::ProgramSpec::xdp(program("r0 = 1\nexit"));
    let one = vm.load(spec.name("one"))?;
    hash.insert(&[1; 4], &[1; 8])?;
    one.run_batch(&[&FRAME[..]; 3])?;
    assert_eq!(consumer.next(Some(Duration::from_millis(1)))?, None);
    assert_eq!(vm.maps()?.len() + vm.programs()?.len(), 3);
    assert_eq!(hash.get(&[1; 4])?, Some(vec![1; 8]));
    one.run(&FRAME).map(|out| out.r0)
}

fn settings_for_rebuilding() -> bpfvisor::VmBuilder {
    let vm = settings().vcpus(2).recovery(Recovery::KeepMaps);
    vm.recovery_limit(u32::MAX, Duration::from_secs(1))
}

fn own_vm() -> Answer {
    let vm = settings_for_rebuilding().boot();
    vm.and_then(|vm| use_vm(&vm)).map_err(|e| told(&e))
}

/// A daemon in this process, and its client.
fn daemon() -> Answer {
    let config = bpfvisor_vmm::Config {
        shared_bytes: 8 << 20,
        heap_bytes: 8 << 20,
        call_timeout: Duration::from_millis(300),
        clients: 2,
        verifier_off: true,
        ..bpfvisor_vmm::Config::default()
    };
    let name = format!("bpfvisor-sabotage-{}", std::process::id());
    let path = std::env::temp_dir().join(name);
    let _ = std::fs::remove_file(&path);
    let vm = bpfvisor_vmm::Vm::boot(config).map_err(|e| e.to_string())?;
    let server = Server::new(vm, Policy::default()).map_err(|e| e.to_string())?;
    let listener = listen(&path, 0o600).map_err(|e| e.to_string())?;
    let stopper = server.stopper();
    let thread = std::thread::Builder::new().spawn(move || drop(server.run(&listener)));
    let thread = thread.map_err(|e| e.to_string())?;
    let used = Vm::connect(&path).and_then(|vm| use_remote(&vm));
    let used = used.map_err(|e| told(&e));
    stopper.stop();
    thread.join().unwrap();
    used
}

/// One run with one failure; false when there was nothing left to fail.
fn run(work: fn() -> Answer, plan: Plan) -> Seen {
    let begin = Instant::now();
    let (answer, seen) = sabotage(plan, work);
    assert!(begin.elapsed() < LONGEST, "{plan:?}, {seen:?}");
    match answer {
        Ok(runs) => assert!((1..=5).contains(&runs), "{runs}, {plan:?}, {seen:?}"),
        Err(text) => {
            assert!(seen.failed.is_some(), "{text} without a failure, {plan:?}");
            assert!(!text.is_empty());
        }
    }
    seen
}

/// Each call that is made without failures, and a few more, fails once.
fn all(name: &str, work: fn() -> Answer, errno: i32, runs: bool, step: usize) {
    let _alone = ALONE.lock().unwrap_or_else(|e| e.into_inner());
    // What a process makes once and keeps.
    work().unwrap();
    Neighbour::beside(work).unwrap();
    let before = files();
    let plan = |nth| Plan { nth, errno, runs };
    let calls = run(work, plan(0)).calls;
    assert!(calls > 5, "{name}: only {calls} calls to fail");
    let mut failed = 0;
    for nth in (1..calls + 10).step_by(step) {
        failed += u64::from(run(work, plan(nth)).failed.is_some());
        soon("descriptors are left", || files() <= before);
    }
    println!("{name}, errno {errno}: {failed} of {calls} calls failed, one at a time");
    assert!(failed * step as u64 + 20 >= calls / 2);
    work().unwrap();
}

#[test]
fn a_vm_survives_the_want_of_memory_wherever_it_comes() {
    all("VM", own_vm, libc::ENOMEM, false, 1);
}

#[test]
fn a_vm_survives_the_want_of_descriptors_and_interruptions() {
    all("VM", own_vm, libc::EMFILE, false, 3);
    all("VM", own_vm, libc::EINTR, false, 3);
}

#[test]
fn running_a_vcpu_may_fail() {
    all("KVM_RUN", own_vm, libc::EIO, true, 1);
    all("KVM_RUN", own_vm, libc::EINTR, true, 1);
    all("KVM_RUN", own_vm, libc::EAGAIN, true, 1);
}

#[test]
fn a_daemon_and_its_client_survive_want_and_interruption() {
    all("daemon", daemon, libc::ENOBUFS, false, 1);
    all("daemon", daemon, libc::EINTR, false, 2);
}
