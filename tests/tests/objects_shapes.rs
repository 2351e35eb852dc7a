//! Programs in the shapes that are well known (a load balancer, an egress policy
//! with tail calls, a firewall by networks, a limiter) do the same in the VM and
//! in the running kernel, loaded there by aya: verdict and packet for every
//! packet of the capture, and the contents of maps afterwards. Needs root and
//! /dev/kvm.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use bpfvisor::Vm;
use bpfvisor::object::{LoadOptions, Object, ObjectFile};
use bpfvisor::uapi::MapType;
use bpfvisor_tests::capture::packets;
use bpfvisor_tests::kernel_object::KernelObject;
use bpfvisor_tests::root;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

type Bytes = Vec<u8>;

fn path(name: &str) -> PathBuf {
    root().join("resources/objects").join(name)
}

fn mixed() -> Vec<Bytes> {
    packets(&root().join("resources/captures/mixed.pcap")).unwrap()
}

/// The same object in both.
struct Pair {
    ours: Object,
    theirs: KernelObject,
}

impl Pair {
    fn load(file: &str, globals: &[(&str, &[u8])]) -> Self {
        let vm = Vm::builder().boot().unwrap();
        let mut object = ObjectFile::open(path(file)).unwrap();
        for (name, value) in globals {
            object.set_global(name, value).unwrap();
        }
        let ours = object.load(&vm, &LoadOptions::default());
        Self {
            ours: ours.unwrap_or_else(|e| panic!("{file}: {e}")),
            theirs: KernelObject::load_with(&path(file), globals).unwrap(),
        }
    }

    fn set(&self, map: &str, key: &[u8], value: &[u8]) {
        let ours = self.ours.map(map).unwrap();
        ours.insert(key, value).unwrap();
        self.theirs.map(map).unwrap().update(key, value, 0).unwrap();
    }

    /// Runs the program over all packets in both; how often each verdict came.
    fn run(&self, program: &str, packets: &[Bytes]) -> BTreeMap<u32, usize> {
        let ours = self.ours.program(program).unwrap();
        let theirs = self.theirs.program(program).unwrap();
        let mut verdicts = BTreeMap::new();
        for (n, packet) in packets.iter().enumerate() {
            match (ours.run(packet), theirs.run(packet)) {
                (Ok(here), Ok(there)) => {
                    assert_eq!(
                        here.retval, there.retval,
                        "{program}: verdict on packet {n}"
                    );
                    assert_eq!(here.data, there.data, "{program}: packet {n} afterwards");
                    *verdicts.entry(here.retval).or_default() += 1;
                }
                (Err(here), Err(there)) => assert_eq!(here.errno(), there.errno),
                (here, there) => panic!("{program}: packet {n}: {here:?} here, {there:?} there"),
            }
        }
        verdicts
    }

    fn same_contents(&self, map: &str) -> BTreeMap<Bytes, Bytes> {
        let ours = self.ours.map(map).unwrap();
        let size = ours.value_size();
        let per_cpu = matches!(ours.map_type(), MapType::PercpuArray | MapType::PercpuHash);
        let whole = |value: Bytes| if per_cpu { sum(&value, size) } else { value };
        let here: BTreeMap<_, _> = ours
            .iter()
            .map(|e| e.map(|(k, v)| (k, whole(v))))
            .collect::<bpfvisor::Result<_>>()
            .unwrap();
        let there = self.theirs.map(map).unwrap().entries().unwrap();
        let there: BTreeMap<_, _> = there.into_iter().map(|(k, v)| (k, whole(v))).collect();
        assert!(!here.is_empty(), "map {map} is empty");
        assert_eq!(here, there, "map {map}");
        here
    }
}

/// Values of 64-bit words, added up over all CPUs.
fn sum(value: &[u8], size: usize) -> Bytes {
    let mut words = vec![0u64; size / 8];
    for cpu in value.chunks_exact(size) {
        for (word, bytes) in words.iter_mut().zip(cpu.as_chunks::<8>().0) {
            *word += u64::from_ne_bytes(*bytes);
        }
    }
    words.iter().flat_map(|w| w.to_ne_bytes()).collect()
}

fn word(n: u32) -> [u8; 4] {
    n.to_ne_bytes()
}

/// Destination, port and protocol of TCP and UDP over IPv4.
fn services(packets: &[Bytes]) -> BTreeSet<Bytes> {
    let mut out = BTreeSet::new();
    for p in packets.iter().filter(|p| p.len() > 38) {
        if p[12..14] == [8, 0] && p[14] == 0x45 && matches!(p[23], 6 | 17) {
            out.insert([&p[30..34], &p[36..38], &[p[23], 0]].concat());
        }
    }
    out
}

#[test]
fn balancer() {
    let pair = Pair::load("balancer.o", &[("own_address", &[10, 0, 0, 1])]);
    let packets = mixed();
    for (n, service) in services(&packets).iter().enumerate() {
        pair.set("services", service, &word(n as u32 % 9));
    }
    for n in 0..8u8 {
        let server = [
            &[10, 1, 0, n][..],
            &word(n.into()),
            &[2, 0, 0, 0, 0, n, 0, 0],
        ]
        .concat();
        pair.set("servers", &word(n.into()), &server);
        let device = word(n.into());
        pair.ours
            .map("devices")
            .unwrap()
            .insert(&device, &word(1))
            .unwrap();
        // aya gives the values of device maps room for a program.
        let devices = pair.theirs.map("devices").unwrap();
        devices.update(&device, &1u64.to_ne_bytes(), 0).unwrap();
    }
    let verdicts = pair.run("balance", &packets);
    assert!(verdicts[&4] > 40, "few were redirected: {verdicts:?}");
    pair.same_contents("totals");
    pair.same_contents("flows");
    let bss = pair.same_contents(".bss");
    assert!(bss.values().any(|v| v.iter().any(|&b| b != 0)));
}

#[test]
fn egress_policy() {
    let pair = Pair::load("egress.o", &[]);
    let stages = ["ipv4", "ipv6", "policy", "count"];
    let loaded: Vec<_> = stages.map(|s| pair.theirs.program(s).unwrap()).into();
    let array = pair.theirs.map("stages").unwrap();
    for (n, program) in loaded.iter().enumerate() {
        let key = word(n as u32);
        array.update(&key, &program.fd().to_ne_bytes(), 0).unwrap();
        let ours = std::os::fd::AsRawFd::as_raw_fd(pair.ours.program(stages[n]).unwrap());
        let map = pair.ours.map("stages").unwrap();
        map.insert(&key, &ours.to_ne_bytes()).unwrap();
    }
    let packets = mixed();
    let mut mapped = [0u8; 20];
    mapped[..4].copy_from_slice(&word(96));
    mapped[14..16].copy_from_slice(&[0xff, 0xff]);
    pair.set("identities", &mapped, &word(4));
    pair.set("identities", &[0; 20], &word(6));
    for (identity, port, protocol, verdict) in [
        (4u32, 53u16, 17, 1),
        (4, 0, 1, 1),
        (6, 0, 6, 1),
        (6, 0, 58, 1),
        (4, 80, 6, 1),
    ] {
        let port = port.to_ne_bytes();
        let rule = [&word(identity)[..], &port, &[protocol, 0]].concat();
        pair.set("rules", &rule, &[verdict]);
    }
    let verdicts = pair.run("egress", &packets);
    assert!(verdicts[&0] > 20 && verdicts[&2] > 20, "{verdicts:?}");
    pair.same_contents("counts");
}

#[test]
fn networks() {
    let pair = Pair::load("networks.o", &[]);
    let packets = mixed();
    let ipv4 = packets
        .iter()
        .filter(|p| p.len() > 34 && p[12..14] == [8, 0]);
    for (id, p) in (0u32..).zip(ipv4) {
        let length = [8, 16, 24, 32][id as usize % 4];
        let action = [1, 2][id as usize % 2];
        let mut address = <[u8; 4]>::try_from(&p[26..30]).unwrap();
        let host = address.iter_mut().skip(length as usize / 8);
        host.for_each(|b| *b = 0);
        let key = [&word(length)[..], &address].concat();
        let verdict = [word(action), word(id % 16)].concat();
        pair.set("networks4", &key, &verdict);
    }
    let link_local = [&word(10)[..], &[0xfe, 0x80], &[0; 14]].concat();
    pair.set("networks6", &link_local, &[word(1), word(15)].concat());
    let verdicts = pair.run("networks", &packets);
    assert!(verdicts[&1] > 10 && verdicts[&2] > 20, "{verdicts:?}");
    pair.same_contents("totals");
}

#[test]
fn limiter() {
    let now = 5_000_000_000u64.to_ne_bytes();
    let pair = Pair::load("limiter.o", &[("now_ns", &now), ("burst", &word(1))]);
    let verdicts = pair.run("limit", &[mixed(), mixed()].concat());
    assert!(verdicts[&1] > 1, "little was refused: {verdicts:?}");
    pair.same_contents(".bss");
    let refused = u64::from_ne_bytes(pair.ours.global("refused").unwrap().try_into().unwrap());
    let mut ring = pair.ours.map("refusals").unwrap().ring_buffer().unwrap();
    let mut names = Vec::new();
    ring.drain(|record| names.push(record[8..8 + usize::from(record[6])].to_vec()));
    assert_eq!(names.len() as u64, refused);
    assert!(names.iter().all(|n| !n.is_empty()), "{names:?}");
}
