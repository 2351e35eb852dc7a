//! Values with a `struct bpf_spin_lock`: `BPF_F_LOCK` from outside, the helpers
//! from programs.

use super::pair::vm;
use bpf_core::asm::assemble;
use bpf_core::uapi::{MapType, ProgType, elem_flags, map_flags};
use bpfvisor::{Map, MapSpec, ProgramSpec, TestRun, Vm};
use bpfvisor_tests::generate::Rng;
use bpfvisor_tests::kernel::{self, btf};
use std::os::fd::{AsFd, AsRawFd};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

const VALUE: u32 = 24;
const LOCK: u32 = 8;

fn create(vm: &Vm, map_type: MapType, flags: u32) -> (Result<Map, i32>, Result<kernel::Map, i32>) {
    let flags = match map_type {
        MapType::LpmTrie => flags | map_flags::NO_PREALLOC,
        _ => flags,
    };
    let key = if map_type == MapType::LpmTrie { 8 } else { 4 };
    let blob = kernel::Btf::load(&btf::locked_pair()).unwrap();
    let spec = MapSpec::new("m", map_type, key, VALUE, 4).flags(flags);
    let ours = vm.create_map(spec.spin_lock(LOCK)).map_err(|e| e.errno());
    let (key_type, value_type) = btf::LOCKED_PAIR;
    let theirs = kernel::Map::create(&kernel::MapSpec {
        flags,
        btf: Some((blob.as_fd(), key_type, value_type)),
        ..kernel::MapSpec::new(map_type, 4, VALUE, 4)
    });
    (ours, theirs.map_err(|e| e.errno))
}

#[test]
fn only_some_types_take_locks() {
    kernel::require().unwrap();
    let vm = vm();
    for map_type in [
        MapType::Hash,
        MapType::Array,
        MapType::PercpuHash,
        MapType::PercpuArray,
        MapType::LruHash,
        MapType::LruPercpuHash,
    ] {
        for flags in [
            0,
            map_flags::RDONLY_PROG,
            map_flags::WRONLY_PROG,
            map_flags::RDONLY,
        ] {
            let (ours, theirs) = create(&vm, map_type, flags);
            assert_eq!(
                ours.map(drop),
                theirs.map(drop),
                "{map_type:?} {flags:#x}: ours, the kernel's"
            );
        }
    }
}

#[test]
fn locked_values_from_outside() {
    kernel::require().unwrap();
    let vm = vm();
    let mut rng = Rng::new(3);
    for map_type in [MapType::Hash, MapType::Array] {
        let (ours, theirs) = create(&vm, map_type, 0);
        let (ours, theirs) = (ours.unwrap(), theirs.unwrap());
        for round in 0..500 {
            let key = (rng.below(6) as u32).to_ne_bytes();
            // The lock's bytes among them: they are nobody's to write.
            let value: Vec<u8> = (0..VALUE).map(|_| rng.below(256) as u8).collect();
            let flags = rng.pick(&[0, 1, 2, 3, 4, 4, 4, 5, 6, 7, 8, 12]);
            let op = rng.below(4);
            let (a, b) = match op {
                0 => (
                    ours.update(&key, &value, flags)
                        .map(|()| None)
                        .map_err(|e| e.errno()),
                    theirs
                        .update(&key, &value, flags)
                        .map(|()| None)
                        .map_err(|e| e.errno),
                ),
                1 => {
                    let mut out = vec![0; VALUE as usize];
                    let there = ours.lookup(&key, &mut out, flags);
                    (
                        there.map(|t| t.then_some(out)).map_err(|e| e.errno()),
                        theirs.lookup_flags(&key, flags).map_err(|e| e.errno),
                    )
                }
                2 if rng.one_in(3) => (
                    ours.remove(&key).map(|()| None).map_err(|e| e.errno()),
                    theirs.delete(&key).map(|()| None).map_err(|e| e.errno),
                ),
                _ => (
                    ours.get(&key).map_err(|e| e.errno()),
                    theirs.lookup(&key).map_err(|e| e.errno),
                ),
            };
            assert_eq!(
                a, b,
                "{map_type:?}, round {round}: operation {op}, key {key:?}, flags {flags}: ours, \
                 the kernel's"
            );
        }
    }
}

/// Under the lock: both numbers get one more; then what the helpers say of flags.
fn text(map: i32, flags: u64) -> String {
    format!(
        "*(u32 *)(r10 -4) = 0\nr1 = map[id:{map}]\nr2 = r10\nr2 += -4\n\
         call bpf_map_lookup_elem\nif r0 != 0 goto there\nr0 = 1\nexit\n\
         there:\nr6 = r0\nr1 = r0\nr1 += 8\ncall bpf_spin_lock\n\
         r2 = *(u64 *)(r6 +0)\nr2 += 1\n*(u64 *)(r6 +0) = r2\n\
         r3 = *(u64 *)(r6 +16)\nr3 += 1\n*(u64 *)(r6 +16) = r3\n\
         r1 = r6\nr1 += 8\ncall bpf_spin_unlock\n\
         *(u64 *)(r10 -16) = 7\n*(u64 *)(r10 -24) = 0\n*(u64 *)(r10 -32) = 7\n\
         *(u32 *)(r10 -4) = 1\nr1 = map[id:{map}]\nr2 = r10\nr2 += -4\nr3 = r10\nr3 += -32\n\
         r4 = {flags}\ncall bpf_map_update_elem\nr0 += 1000\nexit\n"
    )
}

#[test]
fn locks_in_programs() {
    kernel::require().unwrap();
    let vm = vm();
    for map_type in [MapType::Hash, MapType::Array] {
        let (ours, theirs) = create(&vm, map_type, 0);
        let (ours, theirs) = (ours.unwrap(), theirs.unwrap());
        ours.insert(&[0; 4], &[0; VALUE as usize]).unwrap();
        theirs.update(&[0; 4], &[0; VALUE as usize], 0).unwrap();
        for kind in [ProgType::Xdp, ProgType::SchedCls] {
            for flags in [0, 1, 2, 3, 4, 5, 6, 8] {
                let a = assemble(&text(ours.as_raw_fd(), flags)).unwrap();
                let b = assemble(&text(theirs.as_raw_fd(), flags)).unwrap();
                let a = vm.load(ProgramSpec::new(kind, a)).unwrap();
                let b = kernel::Prog::load(&kernel::ProgSpec::new(kind, &b)).unwrap();
                let a = a.run(&[0; 64]).unwrap().retval;
                let b = b.run(&kernel::RunSpec::data(&[0; 64])).unwrap().retval;
                assert_eq!(a, b, "{map_type:?} {kind:?} {flags}: ours, the kernel's");
                for key in [[0; 4], [1, 0, 0, 0]] {
                    assert_eq!(ours.get(&key).unwrap(), theirs.lookup(&key).unwrap());
                }
            }
        }
    }
}

/// What is read under the lock is of one piece, whatever programs on two vCPUs
/// do; and no count is lost.
#[test]
fn a_locked_copy_is_whole() {
    let vm = vm();
    for map_type in [MapType::Hash, MapType::Array] {
        let map = MapSpec::new("m", map_type, 4, VALUE, 4).spin_lock(LOCK);
        let map = vm.create_map(map).unwrap();
        map.insert(&[0; 4], &[0; VALUE as usize]).unwrap();
        let insns = assemble(&text(map.as_raw_fd(), 0)).unwrap();
        let program = vm.load(ProgramSpec::xdp(insns)).unwrap();
        let stop = AtomicBool::new(false);
        let (mut runs, mut looks) = (0, 0);
        std::thread::scope(|s| {
            let run = || {
                let mut runs = 0u64;
                while !stop.load(Relaxed) {
                    let data = &[0; 64];
                    let repeat = 1000;
                    let run = TestRun {
                        data,
                        repeat,
                        ..TestRun::default()
                    };
                    program.test_run(&run).unwrap();
                    runs += u64::from(repeat);
                }
                runs
            };
            let threads = [s.spawn(run), s.spawn(run)];
            let end = Instant::now() + Duration::from_millis(500);
            while Instant::now() < end {
                let mut v = [0; VALUE as usize];
                assert!(map.lookup(&[0; 4], &mut v, elem_flags::F_LOCK).unwrap());
                assert_eq!(v[..8], v[16..], "torn");
                looks += 1;
            }
            stop.store(true, Relaxed);
            runs = threads.into_iter().map(|t| t.join().unwrap()).sum();
        });
        let v = map.get(&[0; 4]).unwrap().unwrap();
        assert_eq!(v[..8], runs.to_ne_bytes(), "a count was lost");
        assert!(looks > 10, "only {looks} looks");
    }
}
