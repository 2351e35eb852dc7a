//! LRU maps at and above their capacity. Which key goes is nobody's promise; what
//! Linux's give is asked of both: the newest keys are there, keys in use stay, and
//! there are never more than fit.

use super::pair::vm;
use bpf_core::asm::assemble;
use bpf_core::insn::Insn;
use bpf_core::uapi::{MapType, ProgType, map_flags};
use bpfvisor::{MapSpec, ProgramSpec};
use bpfvisor_tests::kernel;
use std::os::fd::AsRawFd;

const CAPACITY: u32 = 1024;
/// Keys that programs look up all the time.
const HOT: u32 = 64;
const NEW: u32 = 8192;

/// What both sides can do.
trait Lru {
    fn put(&self, key: u32);
    fn has(&self, key: u32) -> bool;
    fn keys(&self) -> usize;
    /// A program looks all hot keys up, which is what makes them used.
    fn use_hot(&self);
}

struct Ours(bpfvisor::Map, bpfvisor::Program);
struct Theirs(kernel::Map, kernel::Prog);

impl Lru for Ours {
    fn put(&self, key: u32) {
        let value = vec![1; self.0.value_len()];
        self.0.insert(&key.to_ne_bytes(), &value).unwrap();
    }
    fn has(&self, key: u32) -> bool {
        self.0.get(&key.to_ne_bytes()).unwrap().is_some()
    }
    fn keys(&self) -> usize {
        self.0.iter().count()
    }
    fn use_hot(&self) {
        assert_eq!(self.1.run(&[0; 64]).unwrap().retval, 2);
    }
}

impl Lru for Theirs {
    fn put(&self, key: u32) {
        let value = vec![1; self.0.value_len()];
        self.0.update(&key.to_ne_bytes(), &value, 0).unwrap();
    }
    fn has(&self, key: u32) -> bool {
        self.0.lookup(&key.to_ne_bytes()).unwrap().is_some()
    }
    fn keys(&self) -> usize {
        self.0.entries().unwrap().len()
    }
    fn use_hot(&self) {
        let run = self.1.run(&kernel::RunSpec::data(&[0; 64]));
        assert_eq!(run.unwrap().retval, 2);
    }
}

/// Looks up keys 0 to `HOT`.
fn toucher(map: i32) -> Vec<Insn> {
    let text = format!(
        "r6 = {HOT}\nnext:\nr6 += -1\n*(u32 *)(r10 -4) = r6\nr1 = map[id:{map}]\nr2 = r10\n\
         r2 += -4\ncall bpf_map_lookup_elem\nif r6 != 0 goto next\nr0 = 2\nexit\n"
    );
    assemble(&text).unwrap()
}

/// Fills the map over and over; gives how many hot keys and how many of the last
/// `HOT` new ones are there, and how many keys in all.
fn churn(map: &dyn Lru) -> (u32, u32, usize) {
    for k in 0..HOT {
        map.put(k);
    }
    for n in 0..NEW {
        if n % 16 == 0 {
            map.use_hot();
        }
        map.put(1000 + n);
    }
    let count = |keys: std::ops::Range<u32>| keys.filter(|&k| map.has(k)).count() as u32;
    let (hot, newest) = (count(0..HOT), count(1000 + NEW - HOT..1000 + NEW));
    (hot, newest, map.keys())
}

#[test]
fn hot_and_new_keys_stay() {
    kernel::require().unwrap();
    let vm = vm();
    for map_type in [MapType::LruHash, MapType::LruPercpuHash] {
        for flags in [0, map_flags::NO_COMMON_LRU] {
            let ours = MapSpec::new("m", map_type, 4, 8, CAPACITY).flags(flags);
            let ours = vm.create_map(ours).unwrap();
            let program = vm
                .load(ProgramSpec::xdp(toucher(ours.as_raw_fd())))
                .unwrap();
            let most = ours.max_entries() as usize;
            let ours = churn(&Ours(ours, program));
            let spec = kernel::MapSpec::new(map_type, 4, 8, CAPACITY).flags(flags);
            let theirs = kernel::Map::create(&spec).unwrap();
            let insns = toucher(theirs.as_raw_fd());
            let program = kernel::Prog::load(&kernel::ProgSpec::new(ProgType::Xdp, &insns));
            let theirs = churn(&Theirs(theirs, program.unwrap()));
            let what = format!("{map_type:?} {flags:#x}: ours {ours:?}, the kernel's {theirs:?}");
            for (_, newest, keys) in [ours, theirs] {
                assert_eq!(newest, HOT, "new keys are gone: {what}");
                assert!(keys <= most, "{what}");
            }
            // At least as good as the kernel's, and good by itself.
            assert!(ours.0 >= theirs.0.min(HOT) && ours.0 == HOT, "{what}");
            assert!(ours.2 >= theirs.2 && ours.2 >= most * 9 / 10, "{what}");
        }
    }
}

/// Keys that fit all stay: nothing is thrown away early.
#[test]
fn nothing_goes_while_there_is_room() {
    let vm = vm();
    for map_type in [MapType::LruHash, MapType::LruPercpuHash] {
        for max in [1, 2, 7, 100] {
            let map = MapSpec::new("m", map_type, 4, 8, max);
            let map = vm.create_map(map).unwrap();
            let value = vec![1; map.value_len()];
            for k in 0..max {
                map.insert(&k.to_ne_bytes(), &value).unwrap();
            }
            for k in 0..max {
                assert!(map.get(&k.to_ne_bytes()).unwrap().is_some(), "{k} of {max}");
            }
            map.insert(&max.to_ne_bytes(), &value).unwrap();
            assert!(map.get(&max.to_ne_bytes()).unwrap().is_some());
            assert_eq!(map.keys().count(), max as usize);
        }
    }
}
