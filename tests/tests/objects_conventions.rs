//! The conventions of libbpf: what section names, map definitions, externs and
//! relocations mean, and exactly what is said where something is missing. Needs
//! /dev/kvm.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use bpfvisor::Vm;
use bpfvisor::object::{LoadOptions, Object, ObjectFile};
use bpfvisor::uapi::{MapType, ProgType};
use bpfvisor_tests::root;
use std::path::PathBuf;

fn path(name: &str) -> PathBuf {
    root().join("resources/objects").join(name)
}

fn boot() -> Vm {
    Vm::builder().boot().unwrap()
}

fn load(vm: &Vm, name: &str) -> Object {
    vm.load_object(path(name))
        .unwrap_or_else(|e| panic!("{name}: {e}"))
}

fn verdict(object: &Object, program: &str) -> u32 {
    let program = object.program(program).unwrap();
    program.run(&[0; 64]).unwrap().retval
}

#[test]
fn everything_is_understood() {
    let object = load(&boot(), "conventions.o");
    // bpf_loop adds 10, the inner map counts from 1, local(0) is 7, global adds
    // 1, weak(2) is 5, hidden adds 'e'; what does not exist adds nothing.
    let base = 10 + 7 + 1 + 5 + u32::from(b'e');
    assert_eq!(verdict(&object, "everything"), base + 1);
    assert_eq!(verdict(&object, "everything"), base + 2);
    assert_eq!(object.global("runs").unwrap(), 2u32.to_ne_bytes());
    assert_eq!(verdict(&object, "settings"), (6 << 16 | 18 << 8) + 250);
    // A target of tail calls that is not loaded leaves its place empty.
    assert_eq!(verdict(&object, "walk"), 1);
    // Contexts and helpers exist, types of the program's own do not.
    assert_eq!(verdict(&object, "existence"), 0b110_0111);
    let first = object.map("first").unwrap();
    let hits = first.get(&0u32.to_ne_bytes()).unwrap().unwrap();
    assert_eq!(hits[..4], 2u32.to_ne_bytes());
    let names = object.map("by_name").unwrap();
    assert_eq!(names.map_type(), MapType::HashOfMaps);
}

#[test]
fn section_names_say_type_and_whether_to_load() {
    let object = load(&boot(), "conventions.o");
    for (program, prog_type, result) in [
        ("xdp_frags", ProgType::Xdp, 2),
        ("xdp_devmap", ProgType::Xdp, 2),
        ("xdp_frags_devmap", ProgType::Xdp, 2),
        ("xdp_cpumap", ProgType::Xdp, 2),
        ("xdp_old", ProgType::Xdp, 2),
        ("tc_ingress", ProgType::SchedCls, 0),
        ("tcx_ingress", ProgType::SchedCls, 0),
        ("tcx_egress", ProgType::SchedCls, 0),
        ("cls", ProgType::SchedCls, 0),
        ("cls_named", ProgType::SchedCls, 0),
        ("act", ProgType::SchedAct, 0),
        ("socket_1", ProgType::SocketFilter, 64),
    ] {
        let loaded = object
            .program(program)
            .unwrap_or_else(|| panic!("{program}"));
        assert_eq!(loaded.prog_type(), prog_type, "{program}");
        assert_eq!(verdict(&object, program), result, "{program}");
    }
    assert!(object.program("not_loaded").is_none());
    assert!(object.program("no_type").is_none());
}

#[test]
fn a_type_can_be_told_where_the_section_says_none() {
    let file = ObjectFile::open(path("conventions.o")).unwrap();
    let options = LoadOptions {
        programs: vec!["no_type".into()],
        prog_type: Some(ProgType::SchedCls),
        ..LoadOptions::default()
    };
    let object = file.load(&boot(), &options).unwrap();
    assert_eq!(verdict(&object, "no_type"), 7);
}

#[test]
fn targets_of_tail_calls_come_along() {
    let file = ObjectFile::open(path("conventions.o")).unwrap();
    let options = LoadOptions {
        programs: vec!["walk".into()],
        ..LoadOptions::default()
    };
    let object = file.load(&boot(), &options).unwrap();
    assert_eq!(verdict(&object, "walk"), 99);
    assert!(object.map("outer").is_none());
}

#[test]
fn pinned_maps_are_shared_by_name() {
    let vm = boot();
    let (one, two) = (load(&vm, "conventions.o"), load(&vm, "conventions.o"));
    verdict(&one, "everything");
    verdict(&two, "everything");
    let key = 0u32.to_ne_bytes();
    let count = |object: &Object, map: &str| object.map(map).unwrap().get(&key).unwrap().unwrap();
    assert_eq!(count(&one, "shared"), 2u64.to_ne_bytes());
    assert_eq!(count(&two, "shared"), 2u64.to_ne_bytes());
    assert_eq!(count(&one, "first")[..4], 1u32.to_ne_bytes());
    drop((one, two));
    assert_eq!(vm.pins(), ["/sys/fs/bpf/shared"]);
    // The pin alone keeps it.
    let again = load(&vm, "conventions.o");
    assert_eq!(count(&again, "shared"), 2u64.to_ne_bytes());
    // Elsewhere it is another map.
    let file = ObjectFile::open(path("conventions.o")).unwrap();
    let options = LoadOptions {
        pin_root: Some("mine".into()),
        ..LoadOptions::default()
    };
    let elsewhere = file.load(&vm, &options).unwrap();
    assert_eq!(elsewhere.map("shared").unwrap().get(&key).unwrap(), None);
    assert_eq!(vm.pins(), ["/sys/fs/bpf/shared", "mine/shared"]);
    vm.unpin("mine/shared").unwrap();
    assert_eq!(vm.unpin("mine/shared").unwrap_err().errno(), 2);
    // A map that is something else is not taken for it.
    vm.unpin("/sys/fs/bpf/shared").unwrap();
    let other = bpfvisor::MapSpec::array("other", 8, 1);
    vm.pin("/sys/fs/bpf/shared", &vm.create_map(other).unwrap())
        .unwrap();
    let e = vm.load_object(path("conventions.o")).unwrap_err();
    assert!(e.to_string().contains("another map is pinned"), "{e}");
}

#[test]
fn maps_are_made_with_as_many_entries_as_the_caller_says() {
    let vm = boot();
    let mut file = ObjectFile::open(path("limiter.o")).unwrap();
    let load = |file: &ObjectFile| file.load(&vm, &LoadOptions::default());
    let sizes = |object: &Object| -> Vec<u32> {
        let maps = ["buckets", "refusals"].iter();
        maps.map(|m| object.map(m).unwrap().max_entries()).collect()
    };
    assert_eq!(sizes(&load(&file).unwrap()), [4096, 64 << 10]);
    file.set_max_entries("buckets", 7).unwrap();
    file.set_max_entries("refusals", 5000).unwrap();
    assert_eq!(sizes(&load(&file).unwrap()), [7, 8192]);

    file.set_max_entries("buckets", 0).unwrap();
    let none = load(&file).unwrap_err();
    assert_eq!(none.errno(), libc::EINVAL);
    assert!(none.to_string().contains("max_entries must not be 0"));
    let unknown = file.set_max_entries("nowhere", 1).unwrap_err();
    assert!(unknown.to_string().contains("buckets"), "{unknown}");
    let data = file.set_max_entries(".rodata", 2).unwrap_err();
    assert!(data.to_string().contains("global data"), "{data}");
}

#[test]
fn legacy_definitions_of_iproute2() {
    let vm = boot();
    let object = load(&vm, "legacy.o");
    assert_eq!(vm.pins(), ["/sys/fs/bpf/tc/globals/everywhere"]);
    assert_eq!(verdict(&object, "count"), 1);
    let table = bpfvisor::MapSpec::new("table", MapType::Hash, 4, 4, 8);
    let table = vm.create_map(table).unwrap();
    let key = 0u32.to_ne_bytes();
    table.insert(&key, &77u32.to_ne_bytes()).unwrap();
    let fd = std::os::fd::AsRawFd::as_raw_fd(&table);
    object
        .map("tables")
        .unwrap()
        .insert(&key, &fd.to_ne_bytes())
        .unwrap();
    assert_eq!(verdict(&object, "count"), 77);
    let count = object.map("counts").unwrap().get(&key).unwrap().unwrap();
    assert_eq!(count, 2u64.to_ne_bytes());
    let bytes = vm.pinned_map("/sys/fs/bpf/tc/globals/everywhere").unwrap();
    assert_eq!(bytes.get(&key).unwrap().unwrap(), 128u64.to_ne_bytes());
}

#[test]
fn objects_linked_by_bpftool() {
    let object = load(&boot(), "linked.o");
    // Twice the length, 0 scored before, and the values of both halves; of two
    // functions of the same name the one that is not weak counts.
    assert_eq!(verdict(&object, "rate"), 128 + 40 + 3 + 7);
    assert_eq!(object.global("weight").unwrap(), 40u32.to_ne_bytes());
    let seen = object
        .map("seen")
        .unwrap()
        .get(&1u32.to_ne_bytes())
        .unwrap();
    assert_eq!(seen.unwrap(), 1u64.to_ne_bytes());
    assert!(object.map("scored").is_some());
}

#[test]
fn what_is_missing_is_named() {
    let vm = boot();
    let file = ObjectFile::open(path("missing.o")).unwrap();
    for (program, errno, words) in [
        ("kernel_function", 95, &["bpf_rcu_read_lock", "__ksym"][..]),
        ("kernel_variable", 95, &["some_variable", "__ksym"]),
        ("other_object", 95, &["elsewhere", "bpftool gen object"]),
        ("weak_but_called", 22, &["maybe", "__ksym"]),
        ("map_type", 95, &["sockets", "sockmap"]),
        ("extension", 22, &["ext", "?freplace/other"]),
        ("section", 95, &["?my-own-name"]),
    ] {
        let options = LoadOptions {
            programs: vec![program.into()],
            ..LoadOptions::default()
        };
        let e = file.load(&vm, &options).unwrap_err();
        for word in words {
            assert!(e.to_string().contains(word), "{program}: {e}");
        }
        assert_eq!(e.errno(), errno, "{program}: {e}");
    }
    // Nothing of it stays behind.
    let begin = std::time::Instant::now();
    while vm.stats().objects != 0 {
        assert!(begin.elapsed().as_secs() < 5, "objects are left");
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
}
