//! The example objects give the same answers in the VM, in the running kernel
//! and by a decoder that shares no code with them: verdict, packet and map
//! contents for every packet of the capture. Needs root and /dev/kvm.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use bpfvisor::Vm;
use bpfvisor::object::Object;
use bpfvisor_tests::capture::packets;
use bpfvisor_tests::kernel_object::KernelObject;
use bpfvisor_tests::root;
use std::collections::BTreeMap;

fn object_path(name: &str) -> std::path::PathBuf {
    root().join("resources/programs").join(name)
}

fn mixed() -> Vec<Vec<u8>> {
    packets(&root().join("resources/captures/mixed.pcap")).unwrap()
}

fn expected() -> serde_json::Value {
    let path = root().join("resources/captures/mixed.expected.json");
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn load(vm: &Vm, name: &str) -> Object {
    vm.load_object(object_path(name))
        .unwrap_or_else(|e| panic!("{name} in the VM: {e}"))
}

/// Contents of a map, by key.
fn contents(object: &Object, map: &str) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let entries = object
        .map(map)
        .unwrap_or_else(|| panic!("no map {map}"))
        .iter();
    entries.collect::<bpfvisor::Result<_>>().unwrap()
}

/// Runs every packet in both and compares; then compares the maps.
fn compare_with_kernel(file: &str, program: &str, maps: &[&str]) {
    let vm = Vm::builder().boot().unwrap();
    let ours = load(&vm, file);
    let kernel = KernelObject::load(&object_path(file)).unwrap();
    let theirs = kernel.program(program).unwrap();
    let program = ours.program(program).unwrap();
    let packets = mixed();
    assert!(packets.len() > 300);
    let mut refused = 0;
    for (n, packet) in packets.iter().enumerate() {
        match (program.run(packet), theirs.run(packet)) {
            (Ok(here), Ok(there)) => {
                assert_eq!(here.retval, there.retval, "{file}: verdict on packet {n}");
                assert_eq!(here.data, there.data, "{file}: packet {n} afterwards");
            }
            // The kernel does not take a socket buffer too short for its headers.
            (Err(here), Err(there)) => {
                assert_eq!(
                    here.errno(),
                    there.errno,
                    "{file}: packet {n}: {here}, {there}"
                );
                refused += 1;
            }
            (here, there) => panic!("{file}: packet {n}: {here:?} here, {there:?} there"),
        }
    }
    assert!(refused < 6, "{file}: {refused} packets refused");
    for map in maps {
        let there = kernel.entries(map).unwrap();
        assert!(!there.is_empty(), "{file}: the kernel's map {map} is empty");
        assert_eq!(contents(&ours, map), there, "{file}: map {map}");
    }
}

#[test]
fn firewall_as_in_the_kernel() {
    compare_with_kernel(
        "xdp_firewall.o",
        "firewall",
        &["rules", "reasons", ".bss", ".data"],
    );
}

#[test]
fn flow_counter_as_in_the_kernel() {
    compare_with_kernel("flow_counter.o", "flow_counter", &["flows", ".bss"]);
}

#[test]
fn rewriter_as_in_the_kernel() {
    compare_with_kernel("xdp_rewriter.o", "rewriter", &[".bss"]);
}

#[test]
fn socket_filter_as_in_the_kernel() {
    compare_with_kernel("socket_dns.o", "dns", &["directions"]);
}

fn word(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |n, b| n << 8 | u64::from(*b))
}

#[test]
fn firewall_counts_what_the_decoder_counts() {
    let vm = Vm::builder().boot().unwrap();
    let object = load(&vm, "xdp_firewall.o");
    let program = object.program("firewall").unwrap();
    let packets = mixed();
    let refs: Vec<&[u8]> = packets.iter().map(Vec::as_slice).collect();
    let outputs = program.run_batch(&refs).unwrap();
    let want = &expected()["firewall"];

    let passed = outputs.iter().filter(|o| o.retval == 2).count();
    assert_eq!(passed as u64, want["reasons"]["passed"].as_u64().unwrap());
    let reasons = contents(&object, "reasons");
    for (index, name) in ["passed", "malformed", "fragment", "rule"]
        .into_iter()
        .enumerate()
    {
        let count = word(&reasons[&(index as u32).to_ne_bytes().to_vec()]);
        assert_eq!(count, want["reasons"][name].as_u64().unwrap(), "{name}");
    }
    let mut rules = BTreeMap::new();
    for (key, value) in contents(&object, "rules") {
        let port = u16::from_be_bytes([key[2], key[3]]);
        rules.insert(format!("{}/{port}", key[0]), word(&value[8..16]));
    }
    assert_eq!(serde_json::to_value(rules).unwrap(), want["rules"]);
    let seen = object.global("bytes_seen").unwrap();
    assert_eq!(word(&seen), expected()["bytes"].as_u64().unwrap());
}

#[test]
fn flow_counter_counts_what_the_decoder_counts() {
    let vm = Vm::builder().boot().unwrap();
    let object = load(&vm, "flow_counter.o");
    let program = object.program("flow_counter").unwrap();
    for packet in mixed() {
        program.run(&packet).unwrap();
    }
    let want = expected();
    let mut flows: BTreeMap<String, [u64; 2]> = BTreeMap::new();
    for (key, value) in contents(&object, "flows") {
        let end = |at: usize| match key[37] {
            4 => std::net::IpAddr::from(<[u8; 4]>::try_from(&key[at..at + 4]).unwrap()),
            _ => std::net::IpAddr::from(<[u8; 16]>::try_from(&key[at..at + 16]).unwrap()),
        };
        let port = |at: usize| u16::from_be_bytes([key[at], key[at + 1]]);
        let name = format!(
            "{} {} > {} {} proto {}",
            end(0),
            port(32),
            end(16),
            port(34),
            key[36]
        );
        flows.insert(name, [word(&value[..8]), word(&value[8..])]);
    }
    let other = want["flows"]["other"][0].as_u64().unwrap();
    assert_eq!(word(&object.global("other_packets").unwrap()), other);
    let mut want = want["flows"].as_object().unwrap().clone();
    want.remove("other");
    assert_eq!(
        serde_json::to_value(flows).unwrap(),
        serde_json::Value::Object(want)
    );
}

#[test]
fn socket_filter_keeps_what_the_decoder_keeps() {
    let vm = Vm::builder().boot().unwrap();
    let object = load(&vm, "socket_dns.o");
    let program = object.program("dns").unwrap();
    let mut kept: BTreeMap<String, u64> = BTreeMap::new();
    for packet in mixed() {
        // A frame too short for its headers is refused, as by the kernel.
        let verdict = program.run(&packet).map_or(0, |out| out.retval);
        *kept.entry(verdict.to_string()).or_default() += 1;
    }
    assert_eq!(
        serde_json::to_value(kept).unwrap(),
        expected()["dns"]["kept"]
    );
}
