//! What one client makes and another one uses: descriptors of one mode, ids, and maps
//! that are bound to programs.

use super::support::*;
use bpfvisor::raw::{self, Session, Space};
use bpfvisor::uapi::{Cmd, errno};
use bpfvisor::{Access, Map, MapSpec, Program, Vm, Which};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::process::Stdio;

#[test]
fn a_descriptor_that_only_reads_does_so_in_another_process() {
    let daemon = Daemon::start(&[]);
    let vm = daemon.connect();
    let (prog, map) = counting(&vm);
    let given = map.reopen(Access::Read).unwrap();
    assert_eq!(given.access(), Access::Read);
    let wider = given.reopen(Access::Both).unwrap_err();
    assert_eq!(wider.errno(), errno::EPERM);
    prog.run(&FRAME).unwrap();
    let given = given.as_fd().try_clone_to_owned().unwrap();
    let mut other = other_process("shared::child_may_only_read", &daemon.path());
    let status = other.stdin(Stdio::from(given)).status().unwrap();
    assert!(status.success());
    assert_eq!(number(&map, 0), 1);
}

#[test]
#[ignore = "another process of a test"]
fn child_may_only_read() {
    let vm = Vm::connect(given_socket()).unwrap();
    let fd = std::io::stdin().as_fd().try_clone_to_owned().unwrap();
    let map = Map::from_fd(&vm, fd).unwrap();
    assert_eq!((map.access(), number(&map, 0)), (Access::Read, 1));
    let refused = map.insert(&[0; 4], &[0; 8]).unwrap_err();
    assert_eq!(refused.errno(), errno::EPERM);
    assert_eq!(map.freeze().unwrap_err().errno(), errno::EPERM);
}

/// A raw command with words for attributes: the words as they are afterwards.
fn ask(vm: &Vm, cmd: Cmd, words: &[u32]) -> Result<(i64, Vec<u32>), i32> {
    let session = Session::new(vm, Space::new(0x1000, 64));
    let mut attr: Vec<u8> = words.iter().flat_map(|w| w.to_ne_bytes()).collect();
    let answer = raw::bpf(&session, cmd as u32, &mut attr).map_err(|e| e.errno)?;
    let (words, _) = attr.as_chunks::<4>();
    Ok((
        answer,
        words.iter().map(|w| u32::from_ne_bytes(*w)).collect(),
    ))
}

#[allow(unsafe_code)]
fn own(fd: i64) -> OwnedFd {
    // SAFETY: a command has made it just now, and nobody else has it.
    unsafe { OwnedFd::from_raw_fd(fd as i32) }
}

#[test]
fn ids_are_of_the_vm_and_not_of_the_client() {
    let daemon = Daemon::start(&[]);
    let (one, two) = (daemon.connect(), daemon.connect());
    let (prog, map) = counting(&one);
    for (next, get, id) in [
        (Cmd::MapGetNextId, Cmd::MapGetFdById, map.id()),
        (Cmd::ProgGetNextId, Cmd::ProgGetFdById, prog.id()),
    ] {
        let (_, found) = ask(&two, next, &[0, 0, 0]).unwrap();
        assert_eq!(found[1], id);
        assert_eq!(ask(&two, next, &[id, 0, 0]), Err(errno::ENOENT));
        assert_eq!(ask(&two, get, &[id + 1, 0, 0]), Err(errno::ENOENT));
        let (fd, _) = ask(&two, get, &[id, 0, 0]).unwrap();
        drop(own(fd));
    }
    let read = ask(&two, Cmd::MapGetFdById, &[map.id(), 0, 1 << 3])
        .unwrap()
        .0;
    let read = Map::from_fd(&two, own(read)).unwrap();
    assert_eq!((read.name(), read.access()), ("runs", Access::Read));
    let fd = ask(&two, Cmd::ProgGetFdById, &[prog.id(), 0, 0]).unwrap().0;
    let there = Program::from_fd(&two, own(fd)).unwrap();
    assert_eq!(there.run(&FRAME).unwrap().retval, 2);
    assert_eq!(number(&map, 0), 1);
}

#[test]
fn a_bound_map_lives_as_long_as_the_program_whoever_bound_it() {
    let daemon = Daemon::start(&[]);
    let two = daemon.connect();
    {
        let one = daemon.connect();
        let (prog, _) = counting(&one);
        let map = one.create_map(MapSpec::array("bound", 8, 1)).unwrap();
        let fds = [prog.as_raw_fd() as u32, map.as_raw_fd() as u32, 0];
        ask(&one, Cmd::ProgBindMap, &fds).unwrap();
        let wrong = [fds[1], fds[1], 0];
        assert_eq!(ask(&one, Cmd::ProgBindMap, &wrong), Err(errno::EINVAL));
        one.pin("program", &prog).unwrap();
    }
    daemon.settle();
    let map = two.open_map(Which::Name("bound")).unwrap();
    let bpfvisor::What::Program { map_ids, .. } = &two.programs().unwrap()[0].what else {
        panic!("no program is listed");
    };
    assert!(map_ids.contains(&map.id()), "{map_ids:?}");
    drop(map);
    two.unpin("program").unwrap();
    assert!(eventually(|| two.maps().unwrap().is_empty()));
}
