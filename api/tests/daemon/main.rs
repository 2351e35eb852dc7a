//! `bpfvisor-vmm` and its clients, good and bad. Needs /dev/kvm.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod cli;
mod hostile;
mod jail;
mod shared;
#[path = "../../examples/shared_map.rs"]
#[allow(dead_code)]
mod shared_map;
mod support;
mod systemd;

use bpfvisor::raw::{self, Session, Space, UserMemory};
use bpfvisor::uapi::{Cmd, errno};
use bpfvisor::{Error, GuestError, Map, MapSpec, Program, ProgramSpec, TestRun, Vm, Which};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::process::Stdio;
use std::time::{Duration, Instant};
use support::*;

#[test]
fn two_clients_share_a_map_and_run_programs() {
    let daemon = Daemon::start(&["--vcpus", "2"]);
    let (one, two) = (daemon.connect(), daemon.connect());
    assert!(one.is_remote());
    let (prog, map) = counting(&one);
    let prog_there = two.open_program(Which::Name("count")).unwrap();
    let map_there = two.open_map(Which::Name("runs")).unwrap();
    std::thread::scope(|scope| {
        for prog in [&prog, &prog_there] {
            scope.spawn(move || {
                for _ in 0..500 {
                    assert_eq!(prog.run(&FRAME).unwrap().retval, 2);
                }
            });
        }
    });
    assert_eq!(number(&map, 0), 1000);
    assert_eq!(number(&map_there, 0), 1000);
    map_there
        .insert(&0u32.to_ne_bytes(), &7u64.to_ne_bytes())
        .unwrap();
    assert_eq!(number(&map, 0), 7);
}

#[test]
fn the_daemon_is_off_the_path_of_calls() {
    let daemon = Daemon::start(&[]);
    let vm = daemon.connect();
    let (prog, map) = counting(&vm);
    prog.run(&FRAME).unwrap();
    let switches = || {
        let path = format!("/proc/{0}/task/{0}/status", daemon.child.id());
        let text = std::fs::read_to_string(path).unwrap();
        let line = text.lines().find(|l| l.starts_with("voluntary")).unwrap();
        line.split_whitespace()
            .last()
            .unwrap()
            .parse::<u64>()
            .unwrap()
    };
    let before = (switches(), vm.stats().calls);
    for _ in 0..1000 {
        prog.run(&FRAME).unwrap();
        number(&map, 0);
    }
    assert_eq!(number(&map, 0), 1001);
    assert_eq!(
        vm.stats().calls - before.1,
        1000,
        "reading a map is no call"
    );
    assert_eq!(switches(), before.0, "the daemon's thread was woken");
}

#[test]
fn a_descriptor_names_its_object_in_another_process() {
    let daemon = Daemon::start(&[]);
    let vm = daemon.connect();
    let (prog, map) = counting(&vm);
    let given: OwnedFd = map.as_fd().try_clone_to_owned().unwrap();
    let mut other = other_process("child_uses_the_map_on_stdin", &daemon.path());
    let status = other.stdin(Stdio::from(given)).status().unwrap();
    assert!(status.success());
    assert_eq!(number(&map, 0), 42);
    prog.run(&FRAME).unwrap();
    assert_eq!(number(&map, 0), 43);
}

#[test]
#[ignore = "another process of a test"]
fn child_uses_the_map_on_stdin() {
    let vm = Vm::connect(given_socket()).unwrap();
    let fd = std::io::stdin().as_fd().try_clone_to_owned().unwrap();
    let map = Map::from_fd(&vm, fd).unwrap();
    assert_eq!(
        (map.name(), map.value_len(), map.max_entries()),
        ("runs", 8, 1)
    );
    map.insert(&0u32.to_ne_bytes(), &42u64.to_ne_bytes())
        .unwrap();
}

#[test]
fn the_example_of_two_processes_counts_every_run() {
    let daemon = Daemon::start(&[]);
    let mut other = other_process("child_is_the_second_of_the_example", &daemon.path());
    let total = shared_map::first(daemon.path().to_str().unwrap(), &mut other).unwrap();
    assert_eq!(total, 20_000);
}

#[test]
#[ignore = "another process of a test"]
fn child_is_the_second_of_the_example() {
    shared_map::second(given_socket().to_str().unwrap()).unwrap();
}

#[test]
fn raw_commands_are_carried_out_by_the_daemons_vm() {
    let daemon = Daemon::start(&[]);
    let (vm, other) = (daemon.connect(), daemon.connect());
    let space = Space::new(0x1000, 64);
    space.write(0x1000, &7u32.to_ne_bytes()).unwrap();
    space.write(0x1008, &99u64.to_ne_bytes()).unwrap();
    let session = Session::new(&vm, space);
    let words = |words: &[u32]| -> Vec<u8> { words.iter().flat_map(|w| w.to_ne_bytes()).collect() };
    // A hash table: type, key_size, value_size, max_entries; the name is at 28.
    let mut attr = words(&[1, 4, 8, 10, 0, 0, 0]);
    attr.extend_from_slice(b"raw\0\0\0\0\0\0\0\0\0\0\0\0\0");
    let fd = raw::bpf(&session, Cmd::MapCreate as u32, &mut attr).unwrap();
    // map_fd, key, value, flags
    let mut update = words(&[fd as u32, 0, 0x1000, 0, 0x1008, 0, 0, 0]);
    raw::bpf(&session, Cmd::MapUpdateElem as u32, &mut update).unwrap();
    let seen = other.open_map(Which::Name("raw")).unwrap();
    let value = seen.get(&7u32.to_ne_bytes()).unwrap();
    assert_eq!(value, Some(99u64.to_ne_bytes().to_vec()));
}

#[test]
fn descriptors_of_something_else_are_told_apart() {
    let daemon = Daemon::start(&[]);
    let (vm, local) = (
        daemon.connect(),
        Vm::builder().memory(64 << 20).boot().unwrap(),
    );
    let here = local.create_map(MapSpec::array("here", 8, 1)).unwrap();
    let of = |fd: OwnedFd| Map::from_fd(&vm, fd).unwrap_err().errno();
    assert_eq!(of(here.as_fd().try_clone_to_owned().unwrap()), errno::EXDEV);
    assert_eq!(
        of(std::fs::File::open("/dev/null").unwrap().into()),
        errno::EINVAL
    );
    let (prog, _map) = counting(&vm);
    assert_eq!(
        of(prog.as_fd().try_clone_to_owned().unwrap()),
        errno::EINVAL
    );
    let copy = Program::from_fd(&vm, prog.as_fd().try_clone_to_owned().unwrap()).unwrap();
    assert_eq!(copy.name(), "count");
    assert_eq!(copy.xlated().unwrap(), prog.xlated().unwrap());
}

#[test]
fn objects_live_until_all_processes_have_closed_them() {
    let daemon = Daemon::start(&[]);
    let (one, two) = (daemon.connect(), daemon.connect());
    let files = daemon.files();
    let (prog, map) = counting(&one);
    assert_eq!(two.maps().unwrap().len(), 1);
    let kept = two.open_program(Which::Id(1)).unwrap();
    drop((prog, map));
    // The program keeps its map.
    assert!(eventually(|| two.maps().unwrap().len() == 1));
    assert_eq!(kept.run(&FRAME).unwrap().retval, 2);
    drop(kept);
    assert!(eventually(
        || two.programs().unwrap().is_empty() && two.maps().unwrap().is_empty()
    ));
    assert!(eventually(|| daemon.files() == files));
}

#[test]
fn pins_keep_objects_by_name() {
    let daemon = Daemon::start(&[]);
    {
        let vm = daemon.connect();
        let (prog, map) = counting(&vm);
        vm.pin("firewall", &prog).unwrap();
        let taken = vm.pin("firewall", &map).unwrap_err();
        assert_eq!(taken.errno(), errno::EEXIST);
        assert_eq!(vm.pin("", &map).unwrap_err().errno(), errno::ENOENT);
    }
    let vm = daemon.connect();
    assert!(eventually(|| vm.programs().unwrap().len() == 1));
    let listed = &vm.programs().unwrap()[0];
    assert_eq!(
        (listed.name.as_str(), &*listed.pins),
        ("count", &["firewall".to_string()][..])
    );
    assert_eq!(vm.pins(), ["firewall"]);
    let prog = vm.pinned_program("firewall").unwrap();
    assert_eq!(prog.run(&FRAME).unwrap().retval, 2);
    assert_eq!(number(&vm.open_map(Which::Name("runs")).unwrap(), 0), 1);
    drop(prog);
    vm.unpin("firewall").unwrap();
    assert!(eventually(|| vm.programs().unwrap().is_empty()));
    assert_eq!(vm.unpin("firewall").unwrap_err().errno(), errno::ENOENT);
    let gone = vm.open_program(Which::Pinned("firewall")).unwrap_err();
    assert_eq!(gone.errno(), errno::ENOENT);
}

#[test]
fn maps_of_objects_and_ring_buffers_work_over_a_connection() {
    work(&Daemon::start(&[]));
}

/// A bit of everything.
fn work(daemon: &Daemon) {
    let (one, two) = (daemon.connect(), daemon.connect());
    let key = 0u32.to_ne_bytes();
    let inner = one.create_map(MapSpec::array("inner", 8, 1)).unwrap();
    let outer = one
        .create_map(MapSpec::array_of_maps("outer", &inner, 4))
        .unwrap();
    outer
        .insert(&key, &inner.as_raw_fd().to_ne_bytes())
        .unwrap();
    let there = two.open_map(Which::Name("outer")).unwrap();
    let id = there.get(&key).unwrap().unwrap();
    let id = u32::from_ne_bytes(id.try_into().unwrap());
    // What is named lives, though nobody else has it.
    drop(inner);
    let inner = two.open_map(Which::Id(id)).unwrap();
    assert_eq!((inner.name(), number(&inner, 0)), ("inner", 0));
    there.remove(&key).unwrap();
    assert_eq!(outer.get(&key).unwrap(), None);

    let progs = one.create_map(MapSpec::prog_array("progs", 4)).unwrap();
    let prog = one.load(ProgramSpec::xdp(pass()).name("tail")).unwrap();
    progs.insert(&key, &prog.as_raw_fd().to_ne_bytes()).unwrap();
    assert!(progs.get(&key).unwrap().is_some());
    drop((prog, progs));
    assert!(eventually(|| two.programs().unwrap().is_empty()));

    let events = one.create_map(MapSpec::ringbuf("events", 4096)).unwrap();
    let mut ring = events.ring_buffer().unwrap();
    assert_eq!(ring.next(Some(Duration::from_millis(20))).unwrap(), None);
    let same = two.open_map(Which::Name("events")).unwrap();
    assert_eq!(same.ring_buffer().unwrap_err().errno(), errno::EBUSY);
    drop(ring);
    same.ring_buffer().unwrap();

    let (prog, map) = counting(&two);
    let run = TestRun {
        data: &FRAME,
        repeat: u32::MAX,
        ..TestRun::default()
    };
    assert_eq!(prog.test_run(&run).unwrap_err().errno(), errno::ETIMEDOUT);
    let frames = [&FRAME[..]; 3];
    assert_eq!(prog.run_batch(&frames).unwrap().len(), 3);
    assert!(number(&map, 0) > 3);
    assert!(!prog.jited().unwrap().is_empty());
}

#[test]
fn a_rejected_program_comes_with_its_log() {
    let daemon = Daemon::start(&[]);
    let vm = daemon.connect();
    let insns = [bpfvisor::insn::Insn::new(0x95, 0, 0, 0, 0)];
    let Err(Error::Program(rejection)) = vm.load(ProgramSpec::xdp(insns).log_level(1)) else {
        panic!("a program without R0 was not rejected");
    };
    assert_eq!(rejection.errno, errno::EACCES);
    assert!(rejection.log.contains("R0 !read_ok"), "{}", rejection.log);
}

#[test]
fn a_call_that_takes_too_long_is_cut_short_for_its_caller_only() {
    let daemon = Daemon::start(&[]);
    let (slow, quick) = (daemon.connect(), daemon.connect());
    let (long, _map) = counting(&slow);
    let short = quick.load(ProgramSpec::xdp(pass())).unwrap();
    std::thread::scope(|scope| {
        let cut = scope.spawn(|| {
            let begin = Instant::now();
            let run = TestRun {
                data: &FRAME,
                repeat: u32::MAX,
                ..TestRun::default()
            };
            let error = long.test_run(&run).unwrap_err();
            assert_eq!(error.errno(), errno::ETIMEDOUT);
            begin.elapsed()
        });
        std::thread::sleep(Duration::from_millis(100));
        for _ in 0..100 {
            assert_eq!(short.run(&FRAME).unwrap().retval, 2);
        }
        let took = cut.join().unwrap();
        assert!(took > Duration::from_millis(300), "cut after {took:?}");
    });
    assert_eq!(long.run(&FRAME).unwrap().retval, 2);
}

/// The daemon cuts short by what it has seen a moment ago; the client goes on at once.
#[test]
fn the_call_after_one_that_was_cut_short_is_left_alone() {
    let daemon = Daemon::start(&[]);
    let vm = daemon.connect();
    let (prog, _map) = counting(&vm);
    let run = TestRun {
        data: &FRAME,
        repeat: u32::MAX,
        ..TestRun::default()
    };
    let frames = [&FRAME[..]; 64];
    for _ in 0..6 {
        assert_eq!(prog.test_run(&run).unwrap_err().errno(), errno::ETIMEDOUT);
        for _ in 0..50 {
            assert_eq!(prog.run_batch(&frames).unwrap().len(), 64);
        }
    }
}

#[test]
fn the_death_of_the_daemon_is_an_error_at_once() {
    let mut daemon = Daemon::start(&[]);
    let vm = daemon.connect();
    let (prog, map) = counting(&vm);
    let events = vm.create_map(MapSpec::ringbuf("events", 4096)).unwrap();
    let mut ring = events.ring_buffer().unwrap();
    std::thread::scope(|scope| {
        let in_flight = scope.spawn(|| {
            let run = TestRun {
                data: &FRAME,
                repeat: u32::MAX,
                ..TestRun::default()
            };
            prog.test_run(&run).unwrap_err()
        });
        let asleep = scope.spawn(move || ring.next(None).unwrap_err());
        std::thread::sleep(Duration::from_millis(100));
        daemon.child.kill().unwrap();
        let begin = Instant::now();
        for error in [in_flight.join().unwrap(), asleep.join().unwrap()] {
            let lost = matches!(error, Error::Guest(GuestError::Disconnected(_)));
            assert!(lost, "{error}");
        }
        assert!(begin.elapsed() < Duration::from_secs(2));
    });
    let error = vm.create_map(MapSpec::array("a", 8, 1)).unwrap_err();
    assert!(error.to_string().contains("the daemon is gone"), "{error}");
    assert_eq!(prog.run(&FRAME).unwrap_err().errno(), errno::EIO);
    // What is in shared memory can still be read.
    map.get(&0u32.to_ne_bytes()).unwrap();
    daemon.child.wait().unwrap();
    let error = Vm::connect(daemon.path()).unwrap_err();
    assert!(error.to_string().contains("no daemon answers"), "{error}");
}

#[test]
fn one_client_too_many_is_told_so_and_may_come_later() {
    let daemon = Daemon::start(&["--clients", "2"]);
    let connect = || Vm::connect(daemon.path());
    assert!(eventually(|| connect().is_ok()));
    let mut here = Vec::new();
    assert!(eventually(|| connect().map(|vm| vm.id()).is_ok()));
    while here.len() < 2 {
        here.extend(connect());
    }
    let error = connect().unwrap_err();
    assert_eq!(error.errno(), errno::EBUSY);
    assert!(error.to_string().contains("all 2 clients"), "{error}");
    here.pop();
    assert!(eventually(|| connect().is_ok()));
}

#[test]
fn a_second_daemon_at_the_same_socket_is_refused_and_a_dead_one_replaced() {
    let mut daemon = Daemon::start(&[]);
    let second = command(&daemon.place, &[]).output().unwrap();
    let text = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(
        !second.status.success() && text.contains("cannot listen"),
        "{text}"
    );
    daemon.child.kill().unwrap();
    daemon.child.wait().unwrap();
    daemon.child = command(&daemon.place, &[]).spawn().unwrap();
    assert!(eventually(|| Vm::connect(daemon.path()).is_ok()));
}
