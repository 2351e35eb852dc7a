//! Bloom filters, from outside and from programs.

use super::pair::vm;
use bpf_core::asm::assemble;
use bpf_core::insn::Insn;
use bpf_core::uapi::{MapType, ProgType};
use bpfvisor::{MapSpec, ProgramSpec};
use bpfvisor_tests::kernel;
use std::os::fd::AsRawFd;

const SIZE: u32 = 8;

/// A program that adds or looks for `value`; 1000 and what the helper said.
fn program(map: i32, helper: &str, value: u64, flags: u64) -> Vec<Insn> {
    let text = format!(
        "*(u32 *)(r10 -8) = {}\n*(u32 *)(r10 -4) = 0\nr1 = map[id:{map}]\nr2 = r10\nr2 += -8\n\
         r3 = {flags}\ncall {helper}\nr0 += 1000\nexit\n",
        value as u32
    );
    assemble(&text).unwrap()
}

#[test]
fn every_operation_as_the_kernel() {
    kernel::require().unwrap();
    let vm = vm();
    let ours = MapSpec::bloom_filter("b", SIZE, 100).extra(4);
    let ours = vm.create_map(ours).unwrap();
    let theirs = kernel::Map::create(&kernel::MapSpec {
        extra: 4,
        ..kernel::MapSpec::new(MapType::BloomFilter, 0, SIZE, 100)
    });
    let theirs = theirs.unwrap();
    for n in 0..20u64 {
        for flags in [0, 1, 2, 4, 8] {
            let value = n.to_ne_bytes();
            let a = ours.update(&[], &value, flags).map_err(|e| e.errno());
            let b = theirs.update(&[], &value, flags).map_err(|e| e.errno);
            assert_eq!(a, b, "push with flags {flags}: ours, the kernel's");
        }
    }
    let none = |r: bpfvisor::Result<()>| r.map_err(|e| e.errno());
    let take = ours.lookup_and_delete(&[]).map(drop);
    let theirs_take = theirs.lookup_and_delete(&[]).map(drop).map_err(|e| e.errno);
    assert_eq!(none(take), theirs_take, "take");
    assert_eq!(
        none(ours.remove(&[])),
        theirs.delete(&[]).map_err(|e| e.errno)
    );
    let next = ours.next_key(None).map(drop);
    assert_eq!(
        none(next),
        theirs.next_key(None).map(drop).map_err(|e| e.errno)
    );
    for n in 0..20u64 {
        assert!(ours.may_contain(&n.to_ne_bytes()).unwrap());
    }
    for helper in ["bpf_map_push_elem", "bpf_map_peek_elem"] {
        for value in [0, 19, 5000, 5001] {
            for flags in [0, 1, 2, 4] {
                let a = program(ours.as_raw_fd(), helper, value, flags);
                let b = program(theirs.as_raw_fd(), helper, value, flags);
                let a = vm.load(ProgramSpec::xdp(a)).unwrap();
                let b = kernel::Prog::load(&kernel::ProgSpec::new(ProgType::Xdp, &b)).unwrap();
                assert_eq!(
                    a.run(&[0; 64]).unwrap().retval,
                    b.run(&kernel::RunSpec::data(&[0; 64])).unwrap().retval,
                    "{helper} {value} {flags}: ours, the kernel's"
                );
            }
        }
    }
    for helper in [
        "bpf_map_pop_elem",
        "bpf_map_lookup_elem",
        "bpf_map_delete_elem",
    ] {
        let a = program(ours.as_raw_fd(), helper, 1, 0);
        let b = program(theirs.as_raw_fd(), helper, 1, 0);
        assert!(vm.load(ProgramSpec::xdp(a)).is_err(), "{helper}");
        let b = kernel::Prog::load(&kernel::ProgSpec::new(ProgType::Xdp, &b));
        assert!(b.is_err(), "{helper}");
    }
}

/// What was added is always found; of the rest no more than the mathematics say,
/// with room for chance: one hash expects 3,860 of 10,000, give or take 110.
#[test]
fn few_false_claims() {
    let vm = vm();
    for (hashes, most) in [(0, 400), (1, 4500), (3, 1000), (15, 200)] {
        for size in [4, 8, 13, 40] {
            let map = MapSpec::bloom_filter("b", size, 1000).extra(hashes);
            let map = vm.create_map(map).unwrap();
            let value = |n: u32| {
                let mut v = n.to_ne_bytes().to_vec();
                v.resize(size as usize, 7);
                v
            };
            (0..1000).for_each(|n| map.push(&value(n)).unwrap());
            assert!((0..1000).all(|n| map.may_contain(&value(n)).unwrap()));
            let claims = (1000..11_000).filter(|&n| map.may_contain(&value(n)).unwrap());
            let claims = claims.count();
            assert!(
                claims <= most,
                "{hashes} hashes of {size}: {claims} of 10000"
            );
        }
    }
}
