//! Maps whose values name maps and programs.

use super::pair::vm;
use bpf_core::insn::Insn;
use bpf_core::uapi::{MapType, ProgType, errno};
use bpfvisor::{Map, MapSpec, ProgramSpec, Vm};
use bpfvisor_tests::kernel;
use std::os::fd::{AsFd, AsRawFd};
use std::time::{Duration, Instant};

const ZERO: [u8; 4] = [0; 4];

fn insn(opcode: u8, dst: u8, src: u8, off: i16, imm: i32) -> Insn {
    Insn::new(opcode, dst, src, off, imm)
}

fn ret(value: i32) -> Vec<Insn> {
    vec![insn(0xb7, 0, 0, 0, value), insn(0x95, 0, 0, 0, 0)]
}

/// Tail-calls slot 0; 1 where that fails.
fn tail_call(array: i32) -> Vec<Insn> {
    vec![
        insn(0x18, 2, 1, 0, array),
        insn(0, 0, 0, 0, 0),
        insn(0xb7, 3, 0, 0, 0),
        insn(0x85, 0, 0, 0, 12),
        insn(0xb7, 0, 0, 0, 1),
        insn(0x95, 0, 0, 0, 0),
    ]
}

fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(10);
    while !done() {
        assert!(Instant::now() < end, "{what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn objects(vm: &Vm) -> u64 {
    vm.stats().objects
}

#[test]
fn inner_maps_read_back_as_ids() {
    let vm = vm();
    let inner = vm.create_map(MapSpec::array("inner", 8, 1)).unwrap();
    let other = vm.create_map(MapSpec::array("other", 16, 1)).unwrap();
    let theirs_inner = kernel::Map::create(&kernel::MapSpec::new(MapType::Array, 4, 8, 1)).unwrap();
    let theirs_other =
        kernel::Map::create(&kernel::MapSpec::new(MapType::Array, 4, 16, 1)).unwrap();
    for t in [MapType::ArrayOfMaps, MapType::HashOfMaps] {
        let ours = vm
            .create_map(MapSpec::new("outer", t, 4, 4, 2).inner(&inner))
            .unwrap();
        let theirs = kernel::Map::create(&kernel::MapSpec {
            inner: Some(theirs_inner.as_fd()),
            ..kernel::MapSpec::new(t, 4, 4, 2)
        })
        .unwrap();
        let get = |key: &[u8]| {
            let a = ours.get(key).map(|v| v.is_some()).map_err(|e| e.errno());
            let b = theirs.lookup(key).map(|v| v.is_some()).map_err(|e| e.errno);
            assert_eq!(a, b, "{t:?} {key:?}");
            a
        };
        let put = |key: &[u8], a: i32, b: i32, flags| {
            let ours = ours
                .update(key, &a.to_ne_bytes(), flags)
                .map_err(|e| e.errno());
            let theirs = theirs
                .update(key, &b.to_ne_bytes(), flags)
                .map_err(|e| e.errno);
            assert_eq!(ours, theirs, "{t:?} {key:?} flags {flags}");
        };
        assert_eq!(get(&ZERO), Ok(false));
        for flags in [0, 1, 2, 4, 8] {
            put(&ZERO, inner.as_raw_fd(), theirs_inner.as_raw_fd(), flags);
        }
        assert_eq!(get(&ZERO), Ok(true));
        let id = |v: Vec<u8>| u32::from_ne_bytes(v.try_into().unwrap());
        assert_ne!(id(ours.get(&ZERO).unwrap().unwrap()), 0);
        put(&ZERO, other.as_raw_fd(), theirs_other.as_raw_fd(), 0);
        put(&ZERO, -1, -1, 0);
        put(
            &[9, 0, 0, 0],
            inner.as_raw_fd(),
            theirs_inner.as_raw_fd(),
            0,
        );
        let _ = get(&[9, 0, 0, 0]);
        let _ = get(&[1, 0, 0, 0]);
        for key in [ZERO, [1, 0, 0, 0], [200, 0, 0, 0]] {
            let a = ours.remove(&key).map_err(|e| e.errno());
            let b = theirs.delete(&key).map_err(|e| e.errno);
            assert_eq!(a, b, "{t:?} delete {key:?}");
        }
    }
}

#[test]
fn program_arrays_read_back_as_the_kernels() {
    let vm = vm();
    let ours = vm.create_map(MapSpec::prog_array("p", 2)).unwrap();
    let theirs = kernel::Map::create(&kernel::MapSpec::new(MapType::ProgArray, 4, 4, 2)).unwrap();
    let a = vm.load(ProgramSpec::xdp(ret(1))).unwrap();
    let b = kernel::Prog::load(&kernel::ProgSpec::new(ProgType::Xdp, &ret(1))).unwrap();
    let map = vm.create_map(MapSpec::array("a", 4, 1)).unwrap();
    let theirs_map = kernel::Map::create(&kernel::MapSpec::new(MapType::Array, 4, 4, 1)).unwrap();
    for (x, y) in [
        (a.as_raw_fd(), b.as_raw_fd()),
        (map.as_raw_fd(), theirs_map.as_raw_fd()),
        (-1, -1),
    ] {
        for (flags, key) in [(0, 0), (1, 0), (2, 1), (4, 1), (0, 7)] {
            let key = u32::to_ne_bytes(key);
            let p = ours
                .update(&key, &x.to_ne_bytes(), flags)
                .map_err(|e| e.errno());
            let q = theirs
                .update(&key, &y.to_ne_bytes(), flags)
                .map_err(|e| e.errno);
            assert_eq!(p, q, "update {key:?} flags {flags}");
        }
    }
    for key in [0u32, 1, 7].map(u32::to_ne_bytes) {
        let p = ours.get(&key).map(|v| v.is_some()).map_err(|e| e.errno());
        let q = theirs
            .lookup(&key)
            .map(|v| v.is_some())
            .map_err(|e| e.errno);
        assert_eq!(p, q, "lookup {key:?}");
        for _ in 0..2 {
            let p = ours.remove(&key).map_err(|e| e.errno());
            let q = theirs.delete(&key).map_err(|e| e.errno);
            assert_eq!(p, q, "delete {key:?}");
        }
        let p = ours
            .lookup_and_delete(&key)
            .map(|_| ())
            .map_err(|e| e.errno());
        let q = theirs
            .lookup_and_delete(&key)
            .map(|_| ())
            .map_err(|e| e.errno);
        assert_eq!(p, q, "take {key:?}");
    }
}

#[test]
fn an_inner_map_lives_as_long_as_it_is_named() {
    let vm = vm();
    let start = objects(&vm);
    let inner = vm.create_map(MapSpec::array("inner", 8, 1)).unwrap();
    inner.insert(&ZERO, &77u64.to_ne_bytes()).unwrap();
    let outer = vm
        .create_map(MapSpec::array_of_maps("outer", &inner, 1))
        .unwrap();
    outer
        .insert(&ZERO, &inner.as_raw_fd().to_ne_bytes())
        .unwrap();
    drop(inner);
    let insns = vec![
        insn(0x62, 10, 0, -4, 0),
        insn(0xbf, 2, 10, 0, 0),
        insn(0x07, 2, 0, 0, -4),
        insn(0x18, 1, 1, 0, outer.as_raw_fd()),
        insn(0, 0, 0, 0, 0),
        insn(0x85, 0, 0, 0, 1),
        insn(0x15, 0, 0, 7, 0),
        insn(0xbf, 1, 0, 0, 0),
        insn(0xbf, 2, 10, 0, 0),
        insn(0x07, 2, 0, 0, -4),
        insn(0x85, 0, 0, 0, 1),
        insn(0x15, 0, 0, 2, 0),
        insn(0x79, 0, 0, 0, 0),
        insn(0x95, 0, 0, 0, 0),
        insn(0xb7, 0, 0, 0, 1),
        insn(0x95, 0, 0, 0, 0),
    ];
    let program = vm.load(ProgramSpec::xdp(insns)).unwrap();
    assert_eq!(program.run(&[0; 64]).unwrap().retval, 77);
    // The outer map's last descriptor goes; the program keeps it, and it the
    // inner map.
    drop(outer);
    std::thread::sleep(Duration::from_millis(50));
    assert_eq!(program.run(&[0; 64]).unwrap().retval, 77);
    drop(program);
    wait_until("all is freed", || objects(&vm) == start);
}

/// A program array that holds a program that uses that array: Linux empties it
/// when its last descriptor is closed.
#[test]
fn cycles_do_not_leak() {
    let vm = vm();
    let (start, memory) = (objects(&vm), vm.stats().shared_used);
    for _ in 0..20 {
        let array = vm.create_map(MapSpec::prog_array("p", 4)).unwrap();
        let program = vm
            .load(ProgramSpec::xdp(tail_call(array.as_raw_fd())))
            .unwrap();
        let target = vm.load(ProgramSpec::xdp(ret(3))).unwrap();
        array
            .insert(&[1, 0, 0, 0], &program.as_raw_fd().to_ne_bytes())
            .unwrap();
        array
            .insert(&ZERO, &target.as_raw_fd().to_ne_bytes())
            .unwrap();
    }
    wait_until("the arrays and programs are freed", || {
        objects(&vm) == start
    });
    wait_until("their memory, too", || {
        vm.stats().shared_used <= memory + 4096
    });
}

/// Two program arrays whose programs use each other's array, maps of maps of both
/// kinds and streams of events, dropped in many orders.
#[test]
fn nothing_that_names_others_leaks() {
    let vm = vm();
    let (start, memory) = (objects(&vm), vm.stats().shared_used);
    let fd = |n: &dyn AsRawFd| n.as_raw_fd().to_ne_bytes();
    for round in 0..24 {
        let inner = vm.create_map(MapSpec::hash("i", 4, 8, 4)).unwrap();
        let array = MapSpec::array_of_maps("a", &inner, 2);
        let hash = MapSpec::hash_of_maps("h", 4, &inner, 2);
        let maps = [array, hash].map(|spec| vm.create_map(spec).unwrap());
        for outer in &maps {
            outer.insert(&ZERO, &fd(&inner)).unwrap();
            outer.insert(&[1, 0, 0, 0], &fd(&inner)).unwrap();
            if round % 3 == 0 {
                outer.remove(&ZERO).unwrap();
            }
        }
        let tables = [0, 1].map(|_| vm.create_map(MapSpec::prog_array("p", 4)).unwrap());
        let users = tables.each_ref().map(|t| {
            let insns = tail_call(t.as_raw_fd());
            vm.load(ProgramSpec::xdp(insns)).unwrap()
        });
        // Each uses one array and is in the other, and in its own.
        for (table, user) in [(0, 1), (1, 0), (0, 0), (1, 1)] {
            let key = [(user + table) as u8, 0, 0, 0];
            tables[table].insert(&key, &fd(&users[user])).unwrap();
        }
        let events = MapSpec::perf_event_array("e", vm.vcpus());
        let events = vm.create_map(events).unwrap();
        let stream = events.event_stream(4096).unwrap();
        let _ = users[0].run(&[0; 64]).unwrap();
        let [user, other] = users;
        let [outer, last] = maps;
        let mut all: Vec<Box<dyn std::any::Any>> = vec![
            Box::new(inner),
            Box::new(outer),
            Box::new(last),
            Box::new(tables),
            Box::new(user),
            Box::new(other),
            Box::new(events),
            Box::new(stream),
        ];
        while !all.is_empty() {
            drop(all.swap_remove((round * 7 + 3) % all.len()));
        }
    }
    wait_until("all objects are freed", || objects(&vm) == start);
    // What stays is room for requests, which is used again.
    wait_until("their memory, too", || {
        vm.stats().shared_used <= memory + (64 << 10)
    });
}

#[test]
fn the_last_close_empties_a_program_array_and_no_earlier_one() {
    let vm = vm();
    let array = vm.create_map(MapSpec::prog_array("p", 1)).unwrap();
    let theirs = kernel::Map::create(&kernel::MapSpec::new(MapType::ProgArray, 4, 4, 1)).unwrap();
    let copy = array.as_fd().try_clone_to_owned().unwrap();
    let target = vm.load(ProgramSpec::xdp(ret(3))).unwrap();
    let caller = vm
        .load(ProgramSpec::xdp(tail_call(array.as_raw_fd())))
        .unwrap();
    array
        .insert(&ZERO, &target.as_raw_fd().to_ne_bytes())
        .unwrap();
    let load =
        |insns: &[Insn]| kernel::Prog::load(&kernel::ProgSpec::new(ProgType::Xdp, insns)).unwrap();
    let (their_target, their_caller) = (load(&ret(3)), load(&tail_call(theirs.as_raw_fd())));
    theirs
        .update(&ZERO, &their_target.as_raw_fd().to_ne_bytes(), 0)
        .unwrap();
    drop((target, their_target));
    let run = || caller.run(&[0; 64]).unwrap().retval;
    let their_run = || {
        their_caller
            .run(&kernel::RunSpec::data(&[0; 64]))
            .unwrap()
            .retval
    };
    assert_eq!((run(), their_run()), (3, 3));
    drop(array);
    std::thread::sleep(Duration::from_millis(50));
    assert_eq!(run(), 3, "there is a copy of the descriptor");
    drop((copy, theirs));
    wait_until("the kernel empties the array", || their_run() == 1);
    wait_until("the array is empty", || run() == 1);
}

#[test]
fn maps_without_an_inner_map_are_refused() {
    let vm = vm();
    for t in [MapType::ArrayOfMaps, MapType::HashOfMaps] {
        let ours = vm
            .create_map(MapSpec::new("m", t, 4, 4, 2))
            .map(drop)
            .map_err(|e| e.errno());
        assert!(matches!(ours, Err(errno::EINVAL | errno::EBADF)));
    }
    let nested: bpfvisor::Result<Map> = {
        let inner = vm.create_map(MapSpec::array("i", 8, 1)).unwrap();
        let outer = vm
            .create_map(MapSpec::array_of_maps("o", &inner, 1))
            .unwrap();
        vm.create_map(MapSpec::array_of_maps("oo", &outer, 1))
    };
    assert_eq!(nested.map(drop).unwrap_err().errno(), errno::EINVAL);
}
