//! Descriptors of maps and programs are the operating system's: copies, other
//! processes, close-on-exec, numbers used again, and running out of them. Each
//! test counts objects and descriptors before and after. Needs /dev/kvm.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use bpfvisor::asm::assemble;
use bpfvisor::{Map, MapSpec, Program, ProgramSpec, Vm};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use rustix::process::{Resource, getrlimit, setrlimit};
use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Descriptors are counted: one test at a time.
fn alone() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A VM that has made an object before, so that threads and the like are there.
fn boot() -> Vm {
    let vm = Vm::builder().memory(64 << 20).boot().unwrap();
    USED.store(0, Relaxed);
    drop((array(&vm), answers(&vm, 0)));
    gone(&vm);
    vm
}

fn array(vm: &Vm) -> Map {
    vm.create_map(MapSpec::array("m", 8, 1)).unwrap()
}

fn answers(vm: &Vm, n: u32) -> Program {
    let insns = assemble(&format!("r0 = {n}\nexit")).unwrap();
    vm.load(ProgramSpec::xdp(insns)).unwrap()
}

/// A program that reads the map's value.
fn reads(map: &Map) -> bpfvisor::Result<Program> {
    let insns = assemble(
        "r1 = 0
         *(u32 *)(r10 -4) = r1
         r2 = r10
         r2 += -4
         r1 = 0 ll
         call bpf_map_lookup_elem#1
         if r0 == 0 goto out
         r0 = *(u64 *)(r0 +0)
         out:
         exit",
    )
    .unwrap();
    map.vm().load(ProgramSpec::xdp(insns).fixup(4, map))
}

fn open_fds() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

fn eventually(what: &str, mut done: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !done() {
        assert!(begin.elapsed() < Duration::from_secs(10), "{what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Shared memory of the VM that is used when there is no object.
static USED: AtomicU64 = AtomicU64::new(0);

/// No object is left, and no memory of one.
fn gone(vm: &Vm) {
    eventually("objects are left", || vm.stats().objects == 0);
    let used = || vm.stats().shared_used;
    match USED.load(Relaxed) {
        0 => USED.store(used(), Relaxed),
        before => eventually("memory is left", || used() == before),
    }
}

fn set(map: &Map, n: u64) {
    map.insert(&[0; 4], &n.to_ne_bytes()).unwrap();
}

fn value(map: &Map) -> u64 {
    let value = map.get(&[0; 4]).unwrap().unwrap();
    u64::from_ne_bytes(value.try_into().unwrap())
}

#[test]
fn a_copy_is_the_same_map() {
    let _alone = alone();
    let vm = boot();
    let map = array(&vm);
    let copy = map.as_fd().try_clone_to_owned().unwrap();
    set(&map, 7);
    drop(map);
    std::thread::sleep(Duration::from_millis(20));
    let again = Map::from_fd(&vm, copy).unwrap();
    assert_eq!(value(&again), 7);
    drop(again);
    gone(&vm);
}

#[test]
fn another_process_keeps_it_alive() {
    let _alone = alone();
    let vm = boot();
    let map = array(&vm);
    let given = map.as_fd().try_clone_to_owned().unwrap();
    let mut child = Command::new("sleep")
        .arg("60")
        .stdin(given)
        .spawn()
        .unwrap();
    drop(map);
    std::thread::sleep(Duration::from_millis(50));
    assert_eq!(vm.stats().objects, 1, "the child has it open");
    child.kill().unwrap();
    child.wait().unwrap();
    gone(&vm);
}

#[test]
fn other_programs_do_not_inherit_it() {
    let _alone = alone();
    let vm = boot();
    let (map, program) = (array(&vm), answers(&vm, 1));
    let sleep = || Command::new("sleep").arg("60").stdin(Stdio::null()).spawn();
    let mut child = sleep().unwrap();
    drop((map, program));
    gone(&vm);
    assert!(child.try_wait().unwrap().is_none(), "it should still run");
    child.kill().unwrap();
    child.wait().unwrap();
}

/// Sends a descriptor through a socket; what comes out is another number.
fn through_a_socket(fd: OwnedFd) -> OwnedFd {
    let (here, there) = UnixStream::pair().unwrap();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut message = SendAncillaryBuffer::new(&mut space);
    let list = [fd.as_fd()];
    assert!(message.push(SendAncillaryMessage::ScmRights(&list)));
    sendmsg(
        &here,
        &[IoSlice::new(b"x")],
        &mut message,
        SendFlags::empty(),
    )
    .unwrap();
    // On its way it is nobody's number.
    drop(fd);
    std::thread::sleep(Duration::from_millis(20));
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut message = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0; 1];
    let into = &mut [IoSliceMut::new(&mut byte)];
    recvmsg(&there, into, &mut message, RecvFlags::CMSG_CLOEXEC).unwrap();
    let first = message.drain().next();
    let Some(RecvAncillaryMessage::ScmRights(mut fds)) = first else {
        panic!("no descriptor came");
    };
    fds.next().unwrap()
}

#[test]
fn it_travels_through_sockets() {
    let _alone = alone();
    let vm = boot();
    let map = array(&vm);
    set(&map, 9);
    let fd = map.as_fd().try_clone_to_owned().unwrap();
    drop(map);
    let map = Map::from_fd(&vm, through_a_socket(fd)).unwrap();
    assert_eq!(value(&map), 9);
    drop(map);
    gone(&vm);
}

/// Numbers are closed and used again for other objects while programs that name
/// them are loaded: a load means the map that was there, or fails; it never mixes
/// two up.
#[test]
fn numbers_used_again_confuse_nobody() {
    let _alone = alone();
    let vm = boot();
    let before = open_fds();
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                // Whatever number was free last is taken and freed again.
                let (a, b) = (array(&vm), answers(&vm, 2));
                set(&a, 1000);
                drop((b, a));
            }
        });
        for n in 1..200u64 {
            let map = array(&vm);
            set(&map, n);
            let program = reads(&map).unwrap();
            let number = map.as_raw_fd();
            drop(map);
            let out = program.run(&[0; 64]).unwrap();
            assert_eq!(u64::from(out.retval), n);
            // The number means nothing, or something of the other thread's.
            let insns = assemble("r1 = 0 ll\nr0 = 1\nexit").unwrap();
            let stale = ProgramSpec::xdp(insns).fixup_fd(0, number);
            match vm.load(stale) {
                Ok(program) => assert_eq!(program.run(&[0; 64]).unwrap().retval, 1),
                Err(e) => assert!([9, 22].contains(&e.errno()), "{e}"),
            }
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    gone(&vm);
    eventually("descriptors are left", || open_fds() <= before);
}

#[test]
fn thousands_come_and_go() {
    let _alone = alone();
    let vm = boot();
    let before = open_fds();
    let limit = getrlimit(Resource::Nofile);
    let more = limit.maximum.map_or(16384, |m| m.min(16384));
    let mut raised = limit;
    raised.current = Some(more);
    setrlimit(Resource::Nofile, raised).unwrap();
    let many = (more as usize / 3).min(4000);
    assert!(many > 300, "RLIMIT_NOFILE is too low for this test");
    let maps: Vec<Map> = (0..many).map(|_| array(&vm)).collect();
    for (n, map) in maps.iter().enumerate() {
        set(map, n as u64);
    }
    for (n, map) in maps.iter().enumerate() {
        assert_eq!(value(map), n as u64);
    }
    assert_eq!(vm.stats().objects, many as u64);
    drop(maps);
    gone(&vm);
    setrlimit(Resource::Nofile, limit).unwrap();
    eventually("descriptors are left", || open_fds() <= before);
    // Their memory is there for others.
    let half = MapSpec::array("half", 1 << 20, 24);
    drop(vm.create_map(half).unwrap());
    gone(&vm);
}

/// Nothing half-made is left where the process has no descriptor to give.
#[test]
fn running_out_leaves_nothing() {
    let _alone = alone();
    let vm = boot();
    let keeper = array(&vm);
    let before = open_fds();
    let limit = getrlimit(Resource::Nofile);
    // Room for one more, at most: an object takes two.
    for room in 0..2 {
        let mut low = limit;
        low.current = Some(1 + lowest_free() + room);
        setrlimit(Resource::Nofile, low).unwrap();
        let map = vm.create_map(MapSpec::array("m", 8, 1));
        let insns = [0xb7u8, 0x95].map(|op| bpfvisor::insn::Insn::new(op, 0, 0, 0, 0));
        let program = vm.load(ProgramSpec::xdp(insns));
        let loaded = reads(&keeper);
        setrlimit(Resource::Nofile, limit).unwrap();
        for e in [map.err(), program.err(), loaded.err()] {
            assert_eq!(e.expect("there was a descriptor left").errno(), 24);
        }
        eventually("something half-made is left", || vm.stats().objects == 1);
        eventually("descriptors are left", || open_fds() <= before);
    }
    // All works again.
    assert_eq!(reads(&keeper).unwrap().run(&[0; 64]).unwrap().retval, 0);
}

/// The number that the next descriptor gets, less one.
fn lowest_free() -> u64 {
    let next = std::fs::File::open("/dev/null").unwrap();
    next.as_raw_fd() as u64 - 1
}
