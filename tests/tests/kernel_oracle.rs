#![allow(clippy::unwrap_used)]

//! The door to the kernel's `bpf(2)` does what it says. Needs root.

use bpf_core::insn::Insn;
use bpf_core::uapi::{Cmd, MapType, ProgType};
use bpfvisor_tests::kernel::{self, Map, MapSpec, Prog, ProgSpec, RunSpec};

fn returns(value: i32) -> [Insn; 2] {
    [Insn::new(0xb7, 0, 0, 0, value), Insn::new(0x95, 0, 0, 0, 0)]
}

#[test]
fn elements_come_back() {
    kernel::require().unwrap();
    let map = Map::create(&MapSpec::new(MapType::Hash, 4, 8, 4)).unwrap();
    map.update(&[1, 0, 0, 0], &[7; 8], 0).unwrap();
    map.update(&[2, 0, 0, 0], &[9; 8], 0).unwrap();
    assert_eq!(map.lookup(&[1, 0, 0, 0]).unwrap(), Some(vec![7; 8]));
    assert_eq!(map.lookup(&[3, 0, 0, 0]).unwrap(), None);
    assert_eq!(map.entries().unwrap().len(), 2);
    assert_eq!(
        map.lookup_and_delete(&[1, 0, 0, 0]).unwrap(),
        Some(vec![7; 8])
    );
    map.delete(&[2, 0, 0, 0]).unwrap();
    assert_eq!(map.next_key(None).unwrap(), None);
    assert_eq!(map.lookup(&[1]).unwrap_err().errno, libc_einval());
    map.freeze().unwrap();
    assert_eq!(map.update(&[1, 0, 0, 0], &[7; 8], 0).unwrap_err().errno, 1);
}

fn libc_einval() -> i32 {
    bpf_core::uapi::errno::EINVAL
}

#[test]
fn batches_carry_many_elements() {
    let map = Map::create(&MapSpec::new(MapType::Array, 4, 4, 8)).unwrap();
    let mut keys: Vec<u8> = (0..8u32).flat_map(u32::to_le_bytes).collect();
    let mut values: Vec<u8> = (10..18u32).flat_map(u32::to_le_bytes).collect();
    let (done, count, _) = map.batch(Cmd::MapUpdateBatch, None, &mut keys, &mut values, 0);
    assert_eq!((done, count), (Ok(()), 8));
    let (mut keys, mut values) = (vec![0; 16], vec![0; 16]);
    let (done, count, next) = map.batch(Cmd::MapLookupBatch, None, &mut keys, &mut values, 0);
    assert_eq!((done, count), (Ok(()), 4));
    assert_eq!(values[12..], 13u32.to_le_bytes());
    let (done, _, _) = map.batch(Cmd::MapLookupBatch, Some(&next), &mut keys, &mut values, 0);
    done.unwrap();
    assert_eq!(values[..4], 14u32.to_le_bytes());
}

#[test]
fn programs_load_run_and_report() {
    let insns = returns(2);
    let prog = Prog::load(&ProgSpec::new(ProgType::Xdp, &insns).log_level(2)).unwrap();
    assert!(prog.log().contains("R0=2"), "{}", prog.log());
    let info = prog.info().unwrap();
    assert_eq!((info.verified_insns, info.xlated_len), (2, 16));
    let packet: Vec<u8> = (0..64).collect();
    let out = prog.run(&RunSpec::data(&packet)).unwrap();
    assert_eq!((out.retval, &out.data), (2, &packet));
}

#[test]
fn a_reject_names_its_reason() {
    let spec = ProgSpec::new(ProgType::SocketFilter, &[]).log_level(1);
    let insns = [Insn::new(0xbf, 0, 3, 0, 0), Insn::new(0x95, 0, 0, 0, 0)];
    let rejected = Prog::load(&ProgSpec {
        insns: &insns,
        ..spec
    })
    .unwrap_err();
    assert_eq!(rejected.error.errno, 13);
    assert_eq!(rejected.reason(), "R3 !read_ok");
}
