//! Clients that die, lie or flood. Others must not notice, and nothing stays
//! behind.

use super::support::*;
use bpfvisor::{Program, TestRun, Vm, Which};
use rustix::net::*;
use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

/// A connection that has said nothing yet.
fn raw(path: &Path) -> OwnedFd {
    let socket = socket_with(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    );
    let socket = socket.unwrap();
    let limit = Some(Duration::from_secs(20));
    sockopt::set_socket_timeout(&socket, sockopt::Timeout::Recv, limit).unwrap();
    connect(&socket, &SocketAddrUnix::new(path).unwrap()).unwrap();
    socket
}

fn say(socket: &OwnedFd, bytes: &[u8], fds: &[BorrowedFd<'_>]) {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(253))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() {
        assert!(control.push(SendAncillaryMessage::ScmRights(fds)));
    }
    // It may have hung up already.
    let _ = sendmsg(
        socket,
        &[IoSlice::new(bytes)],
        &mut control,
        SendFlags::NOSIGNAL,
    );
}

/// Whether the daemon has hung up, after whatever it had to say.
fn dropped(socket: &OwnedFd) -> bool {
    let mut buffer = vec![0u8; 1 << 16];
    loop {
        match recv(socket, &mut *buffer, RecvFlags::empty()) {
            Ok((_, 0)) | Err(rustix::io::Errno::CONNRESET) => return true,
            Ok(_) => {}
            Err(_) => return false,
        }
    }
}

/// The bytes of a hello: variant 0, the magic, and two versions.
fn hello() -> Vec<u8> {
    let mut bytes = vec![0];
    bytes.extend(b"bpfvisor");
    bytes.extend([2, bpfvisor_abi::PROTOCOL_VERSION as u8]);
    bytes
}

/// A daemon with a client that works, and its levels.
struct Scene {
    daemon: Daemon,
    vm: Vm,
    prog: Program,
    files: usize,
    threads: usize,
}

impl Scene {
    fn new() -> Self {
        let daemon = Daemon::start(&["--vcpus", "2", "--clients", "6"]);
        let vm = daemon.connect();
        let (prog, _) = counting(&vm);
        prog.run(&FRAME).unwrap();
        daemon.settle();
        let (files, threads) = (daemon.files(), daemon.threads());
        Self {
            daemon,
            vm,
            prog,
            files,
            threads,
        }
    }

    /// Nothing has happened.
    fn check(&mut self) {
        assert_eq!(self.prog.run(&FRAME).unwrap().retval, 2);
        let (files, threads) = (self.files, self.threads);
        let daemon = &self.daemon;
        let level = || daemon.files() == files && daemon.threads() == threads;
        assert!(
            eventually(level),
            "files {files} now {}, threads {threads} now {}",
            daemon.files(),
            daemon.threads()
        );
        assert!(self.vm.is_alive());
        assert!(self.daemon.child.try_wait().unwrap().is_none());
        // All places are free again.
        let all: Vec<_> = (0..5).map(|_| self.daemon.connect()).collect();
        drop(all);
        assert!(eventually(|| self.daemon.files() == files));
    }
}

#[test]
fn garbage_ends_the_connection_and_nothing_else() {
    let mut scene = Scene::new();
    let path = scene.daemon.path();
    let long = vec![0x41; 100_000];
    let wrong_magic = [&[0][..], b"bpfwizard", &[1, 2]].concat();
    let trailing = [&hello()[..], &[0]].concat();
    let half = &hello()[..5];
    for first in [
        &[][..],
        &[0xff; 3],
        half,
        &long,
        &wrong_magic,
        &trailing,
        &[3, 0],
    ] {
        let socket = raw(&path);
        say(&socket, first, &[]);
        if !first.is_empty() {
            assert!(dropped(&socket), "{first:?}");
        }
    }
    for (then, fds) in [
        (&[0xff; 40][..], 0),
        (&hello(), 0),
        (&[1, 1], 0),
        (&long, 0),
        (&[5], 0),
        (&[4, 1, 0], 1),
        (&[5], 3),
        (&[5], 200),
    ] {
        let socket = raw(&path);
        say(&socket, &hello(), &[]);
        let null = std::fs::File::open("/dev/null").unwrap();
        let fds = vec![null.as_fd(); fds];
        say(&socket, then, &fds);
        assert!(dropped(&socket), "{then:?} with {} descriptors", fds.len());
    }
    scene.check();
}

/// Any bytes at all, many times over: the decoder is on the border.
#[test]
fn random_requests_do_no_harm() {
    let mut scene = Scene::new();
    let path = scene.daemon.path();
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    for _ in 0..60 {
        let socket = raw(&path);
        say(&socket, &hello(), &[]);
        for _ in 0..40 {
            let len = 1 + random() as usize % 64;
            let mut bytes: Vec<u8> = (0..len).map(|_| random() as u8).collect();
            bytes[0] %= 18;
            say(&socket, &bytes, &[]);
        }
        let _ = shutdown(&socket, Shutdown::Write);
        assert!(dropped(&socket));
    }
    scene.check();
}

#[test]
fn a_flood_of_connections_and_requests_is_survived() {
    let mut scene = Scene::new();
    let path = scene.daemon.path();
    // Silent ones are sent away after a while.
    let silent: Vec<_> = (0..60).map(|_| raw(&path)).collect();
    assert_eq!(scene.prog.run(&FRAME).unwrap().retval, 2);
    drop(silent);
    // One that asks and asks, and never reads an answer.
    let socket = raw(&path);
    say(&socket, &hello(), &[]);
    rustix::io::ioctl_fionbio(&socket, true).unwrap();
    for _ in 0..5000 {
        say(&socket, &[8, 0, 0], &[]); // a list
    }
    assert_eq!(scene.prog.run(&FRAME).unwrap().retval, 2);
    drop(socket);
    scene.check();
}

#[test]
fn a_client_that_takes_all_memory_gives_it_back_when_it_dies() {
    let mut scene = Scene::new();
    {
        let vm = scene.daemon.connect();
        let mut blocks = Vec::new();
        while let Ok(buffer) = vm.packet_buffer(bpfvisor::uapi::ProgType::Xdp, 64, 4096) {
            blocks.push(buffer);
            assert!(blocks.len() < 1000);
        }
        assert!(blocks.len() > 50, "{}", blocks.len());
        // Its neighbour goes on with what it has.
        assert_eq!(scene.prog.run(&FRAME).unwrap().retval, 2);
    }
    let vm = scene.daemon.connect();
    let buffer = || vm.packet_buffer(bpfvisor::uapi::ProgType::Xdp, 4000, 4096);
    assert!(eventually(|| buffer().is_ok()));
    drop(vm);
    scene.check();
}

#[test]
fn a_client_that_is_killed_in_the_middle_of_a_call_leaves_nothing_behind() {
    let mut scene = Scene::new();
    for _ in 0..3 {
        let mut child = other_process("hostile::child_runs_for_ever", &scene.daemon.path());
        let mut child = child.spawn().unwrap();
        let vm = &scene.vm;
        assert!(eventually(|| vm.maps().unwrap().len() == 2));
        std::thread::sleep(Duration::from_millis(50));
        child.kill().unwrap();
        child.wait().unwrap();
        for _ in 0..100 {
            assert_eq!(scene.prog.run(&FRAME).unwrap().retval, 2);
        }
        assert!(eventually(|| vm.programs().unwrap().len() == 1));
        assert!(eventually(|| vm.maps().unwrap().len() == 1));
    }
    scene.check();
}

#[test]
#[ignore = "another process of a test"]
fn child_runs_for_ever() {
    let vm = Vm::connect(given_socket()).unwrap();
    let (prog, _map) = counting(&vm);
    loop {
        // Cut short again and again.
        let _ = prog.test_run(&TestRun {
            data: &FRAME,
            repeat: u32::MAX,
            ..TestRun::default()
        });
    }
}

/// The guest itself says no to what only the daemon may ask: handles of others
/// are no secret.
#[test]
fn a_client_cannot_free_what_others_hold() {
    let mut scene = Scene::new();
    let vm = scene.daemon.connect();
    let prog = vm.open_program(Which::Name("count")).unwrap();
    drop(prog);
    assert_eq!(scene.prog.run(&FRAME).unwrap().retval, 2);
    drop(vm);
    scene.check();
}

/// Requests as they are sent, each of which some step of a session might be the last.
fn session() -> Vec<Vec<u8>> {
    let mut map = vec![2];
    let record = bpfvisor_abi::op::MapRecord {
        map_type: 2,
        key_size: 4,
        value_size: 8,
        max_entries: 1,
        storage_len: 4096,
        spin_lock_off: u32::MAX,
        timer_off: u32::MAX,
        ..Default::default()
    };
    let record = zerocopy::IntoBytes::as_bytes(&record);
    assert!(record.len() < 128, "its length takes one byte");
    map.push(record.len() as u8);
    map.extend(record);
    map.extend([0, 0]);
    let ring = map.clone();
    vec![
        hello(),
        vec![1, 0x80, 0x20, 0], // a lease of 4096 bytes
        map,
        vec![8, 1, 0],                     // a list of maps
        vec![9, 1, 1],                     // the first map
        vec![4, 0x81, 0x80, 0x04, 0],      // a descriptor of some handle
        vec![11, 0x81, 0x80, 0x04, 1, 65], // a pin
        vec![10, 1, 65],                   // what is pinned
        vec![14, 1, 0x81, 0x80, 0x04],     // a bell
        vec![12, 1, 65],                   // no pin
        ring,
        vec![3, 0x80, 0x20, 0, 0], // a program
    ]
}

/// Clients that go after each step, having read all answers, or none.
#[test]
fn a_client_may_die_at_every_step() {
    let mut scene = Scene::new();
    let path = scene.daemon.path();
    let steps = session();
    for last in 0..=steps.len() {
        for reads in [true, false] {
            let socket = raw(&path);
            for step in &steps[..last] {
                say(&socket, step, &[]);
                if reads {
                    let mut buffer = [0; 4096];
                    let _ = recv(&socket, &mut buffer, RecvFlags::empty());
                }
            }
        }
        // And one in the middle of a message, as far as a packet has one.
        let socket = raw(&path);
        for step in &steps[..last] {
            say(&socket, step, &[]);
        }
        if let Some(next) = steps.get(last) {
            say(&socket, &next[..next.len() / 2], &[]);
        }
    }
    scene.check();
    assert_eq!(scene.vm.maps().unwrap().len(), 1);
}

/// The guest itself refuses what only the daemon may ask for, whoever's the object is.
#[test]
fn the_guest_takes_no_orders_from_clients() {
    use bpfvisor_abi::op::{code, for_clients};
    let mut scene = Scene::new();
    let client = bpfvisor_vmm::Vm::connect(&scene.daemon.path()).unwrap();
    let program = client.list(bpfvisor_vmm::Kind::Program).unwrap();
    let map = client.list(bpfvisor_vmm::Kind::Map).unwrap();
    let (program, map) = (program[0].handle.into(), map[0].handle.into());
    let known = [
        code::PROG_LOAD,
        code::PROG_UNLOAD,
        code::MAP_CREATE,
        code::MAP_FREE,
        code::MAP_CLEAR,
        code::PAIR_RESET,
    ];
    // Those, and all numbers that mean nothing.
    let others = (0..200).filter(|op| !for_clients(*op));
    for op in known.into_iter().chain(others) {
        assert!(!for_clients(op), "{op}");
        for handle in [program, map, 1] {
            let refused = client.call(op, [handle, 0, 0, 0, 0, 0, 0]).unwrap_err();
            assert_eq!(refused.errno(), libc::EPERM, "operation {op}: {refused}");
        }
    }
    assert_eq!(client.list(bpfvisor_vmm::Kind::Map).unwrap().len(), 1);
    drop(client);
    scene.check();
}
