//! Random attribute bytes: whatever comes in, an answer comes out. Needs a usable
//! /dev/kvm.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

use bpfvisor::raw::{self, Session, Space, UserMemory};
use bpfvisor::{MapSpec, Vm};
use std::os::fd::AsRawFd;

const BASE: u64 = 0x10_0000;
const LEN: usize = 64 << 10;

/// xorshift64*: the same numbers each time.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    /// A number of the kind that attributes hold.
    fn word(&mut self, fds: &[i32]) -> u64 {
        match self.below(8) {
            0 => 0,
            1 => self.below(16),
            2 => fds[self.below(fds.len() as u64) as usize] as u64,
            3 | 4 => BASE + self.below(LEN as u64),
            5 => 1 << self.below(64),
            6 => u64::MAX >> self.below(64),
            _ => self.next(),
        }
    }
}

const LENGTHS: [usize; 12] = [0, 4, 16, 24, 32, 56, 76, 80, 96, 152, 168, 200];

/// Good attributes for the command, as 8-byte words.
fn template(cmd: u32, fds: &[i32]) -> Vec<u64> {
    let (map, prog) = (fds[0] as u64, fds[2] as u64);
    let (a, b) = (BASE, BASE + 4096);
    match cmd {
        0 => vec![1 | 4 << 32, 8 | 4 << 32],
        1 | 2 | 21 => vec![map, a, b],
        3 => vec![map, a],
        4 => vec![map, 0, b],
        5 => vec![6 | 2 << 32, a, b],
        10 => vec![prog, 64, a],
        15 => vec![map | 80 << 32, b + 8192],
        24..=27 => vec![0, b, a, b + 4096, 3 | map << 32],
        _ => Vec::new(),
    }
}

fn attributes(random: &mut Random, cmd: u32, fds: &[i32]) -> Vec<u8> {
    let words = template(cmd, fds);
    let mut attr: Vec<u8> = words.iter().flat_map(|w| w.to_ne_bytes()).collect();
    let len = LENGTHS[random.below(12) as usize];
    if random.below(4) == 0 {
        attr.resize(len, 0);
    } else {
        attr.resize(attr.len().max(len.min(168)), 0);
    }
    for _ in 0..random.below(4) {
        let wide = random.below(2) == 0;
        let word = random.word(fds).to_ne_bytes();
        let bytes = if wide { &word[..] } else { &word[..4] };
        let at = random.below(12) as usize * 8 + random.below(2) as usize * 4;
        if let Some(to) = attr.get_mut(at..at + bytes.len()) {
            to.copy_from_slice(bytes);
        }
    }
    attr
}

#[test]
fn random_attributes_get_an_answer() {
    let vm = Vm::builder()
        .memory(64 << 20)
        .timeout(std::time::Duration::from_millis(50))
        .boot();
    let vm = vm.unwrap_or_else(|e| panic!("this test needs a usable /dev/kvm: {e}"));
    let hash = vm.create_map(MapSpec::hash("h", 4, 8, 16)).unwrap();
    let array = vm.create_map(MapSpec::array("a", 8, 4)).unwrap();
    let ret = [0xb7, 0, 0, 0, 2, 0, 0, 0, 0x95, 0, 0, 0, 0, 0, 0, 0];
    let prog = vm
        .load(bpfvisor::ProgramSpec::xdp(
            ret.as_chunks::<8>()
                .0
                .iter()
                .map(|b| bpfvisor::insn::Insn::from_bytes(*b))
                .collect::<Vec<_>>(),
        ))
        .unwrap();
    let fds = [
        hash.as_raw_fd(),
        array.as_raw_fd(),
        prog.as_raw_fd(),
        9999,
        -1,
    ];
    let space = Space::new(BASE, LEN);
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    for at in (0..LEN as u64).step_by(16) {
        space.write(BASE + at, &ret).unwrap();
    }
    let session = Session::new(&vm, &space);
    let (mut good, mut opened) = (0, 0);
    for _ in 0..10_000 {
        let cmd = random.below(40) as u32;
        // Descriptors stay open: enough is enough.
        if opened == 300 && matches!(cmd, 0 | 5 | 32) {
            continue;
        }
        let mut attr = attributes(&mut random, cmd, &fds);
        match raw::bpf(&session, cmd, &mut attr) {
            Ok(0) => good += 1,
            Ok(_) => opened += 1,
            Err(e) => assert!(e.errno > 0 && !e.message.is_empty(), "{e:?}"),
        }
        assert!(vm.is_alive());
    }
    assert!(good > 500, "only {good} commands were good");
}

#[test]
fn random_lists_get_an_answer() {
    let vm = Vm::builder().memory(64 << 20).boot();
    let vm = vm.unwrap_or_else(|e| panic!("this test needs a usable /dev/kvm: {e}"));
    let mut random = Random(0xdead_beef);
    let mut good = 0;
    for _ in 0..20_000 {
        let mut list = Vec::new();
        for kind in [1u16, 2, 3] {
            let kind = if random.below(20) == 0 {
                random.next() as u16
            } else {
                kind
            };
            let len = [8, 8, 8, 8, 8, 8, 12, 20, 3, 5][random.below(10) as usize];
            list.extend(u16::to_ne_bytes(len));
            list.extend(kind.to_ne_bytes());
            list.extend(u32::to_ne_bytes(random.below(20) as u32));
        }
        list.truncate(list.len() - [0, 0, 0, 4, 7][random.below(5) as usize]);
        let cmd = [0, 5][random.below(2) as usize];
        match raw::bpf_attrs(&vm, cmd, random.below(7) as u32, &list, 0) {
            Ok(_) => good += 1,
            Err(e) => assert!(e.errno > 0 && !e.message.is_empty(), "{e:?}"),
        }
        if good == 400 {
            return; // each holds a descriptor
        }
    }
    assert!(good > 100, "only {good} lists were good");
}
