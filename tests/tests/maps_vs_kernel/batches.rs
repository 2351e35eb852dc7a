//! Batches over every type: what is refused, what is done, what is left.

use super::pair::vm;
use bpf_core::uapi::{Cmd, MapType, map_flags};
use bpfvisor::{Map, MapSpec, Vm};
use bpfvisor_tests::kernel;
use std::collections::BTreeMap;
use std::os::fd::{AsFd, AsRawFd};

const TYPES: [MapType; 12] = [
    MapType::Hash,
    MapType::LruHash,
    MapType::PercpuHash,
    MapType::LruPercpuHash,
    MapType::Array,
    MapType::PercpuArray,
    MapType::LpmTrie,
    MapType::ArrayOfMaps,
    MapType::HashOfMaps,
    MapType::ProgArray,
    MapType::Devmap,
    MapType::DevmapHash,
];
const MAX: u32 = 8;
/// So many that LRU maps throw nothing away.
const MAX_LRU: u32 = 4096;
const GIVEN: u32 = 5;

struct Two {
    ours: Map,
    theirs: kernel::Map,
    /// A value on either side.
    values: [Vec<u8>; 2],
    _inner: (Map, kernel::Map),
    names_maps: bool,
    key: u32,
}

fn two(vm: &Vm, map_type: MapType) -> Two {
    let inner = vm.create_map(MapSpec::array("inner", 8, 1)).unwrap();
    let theirs_inner = kernel::Map::create(&kernel::MapSpec::new(MapType::Array, 4, 8, 1));
    let theirs_inner = theirs_inner.unwrap();
    let names_maps = matches!(map_type, MapType::ArrayOfMaps | MapType::HashOfMaps);
    let (key, flags) = match map_type {
        MapType::LpmTrie => (8, map_flags::NO_PREALLOC),
        _ => (4, 0),
    };
    let value = match map_type {
        MapType::ArrayOfMaps
        | MapType::HashOfMaps
        | MapType::ProgArray
        | MapType::Devmap
        | MapType::DevmapHash => 4,
        _ => 12,
    };
    let max = match map_type {
        MapType::LruHash | MapType::LruPercpuHash => MAX_LRU,
        _ => MAX,
    };
    let ours = MapSpec::new("m", map_type, key, value, max).flags(flags);
    let ours = match names_maps {
        true => ours.inner(&inner),
        false => ours,
    };
    let ours = vm.create_map(ours).unwrap();
    let theirs = kernel::Map::create(&kernel::MapSpec {
        inner: names_maps.then_some(theirs_inner.as_fd()),
        ..kernel::MapSpec::new(map_type, key, value, max).flags(flags)
    });
    let theirs = theirs.unwrap();
    let values = match names_maps {
        true => [inner.as_raw_fd(), theirs_inner.as_raw_fd()].map(|f| f.to_ne_bytes().to_vec()),
        false => {
            let mut one = [1, 0, 0, 0].repeat(value as usize / 4);
            one.resize(one.len().next_multiple_of(8).min(theirs.value_len()), 0);
            let one = one.repeat(theirs.value_len() / one.len());
            [one.clone(), one]
        }
    };
    Two {
        ours,
        theirs,
        values,
        _inner: (inner, theirs_inner),
        names_maps,
        key,
    }
}

type Done = (usize, Result<(), i32>);
type Found = (BTreeMap<Vec<u8>, Vec<u8>>, Result<(), i32>);

impl Two {
    fn keys(&self, n: u32) -> Vec<u8> {
        let key = |i: u32| match self.key {
            8 => [32u32.to_ne_bytes(), i.to_be_bytes()].concat(),
            _ => i.to_ne_bytes().to_vec(),
        };
        (0..n).flat_map(key).collect()
    }

    /// Counts are compared where the command was not refused as a whole.
    fn counted(&self, (done, count, _): (kernel::Result<()>, usize, Vec<u8>)) -> Done {
        let done = done.map_err(|e| e.errno);
        match done {
            Err(524 | libc::EPERM | libc::EINVAL) => (0, done),
            _ => (count, done),
        }
    }

    fn update(&self, n: u32, flags: u64) -> [Done; 2] {
        let mut keys = self.keys(n);
        let [a, b] = self.values.each_ref().map(|v| v.repeat(n as usize));
        let (count, done) = self.ours.update_batch(&keys, &a, flags);
        let theirs = &self.theirs;
        let b = theirs.batch(Cmd::MapUpdateBatch, None, &mut keys, &mut b.clone(), flags);
        [(count, done.map_err(|e| e.errno())), self.counted(b)]
    }

    fn delete(&self, n: u32) -> [Done; 2] {
        let mut keys = self.keys(n);
        let (count, done) = self.ours.delete_batch(&keys);
        let b = (self.theirs).batch(Cmd::MapDeleteBatch, None, &mut keys, &mut [], 0);
        [(count, done.map_err(|e| e.errno())), self.counted(b)]
    }

    /// One batch with room for everything.
    fn lookup(&self, take: bool) -> [Found; 2] {
        let room = 4 * MAX;
        let ours = match take {
            true => self.ours.lookup_and_delete_batch(None, room),
            false => self.ours.lookup_batch(None, room),
        };
        let ours = match ours {
            Ok(b) => {
                assert_eq!(b.next, None);
                let found = self.pairs(&b.keys, &b.values, self.ours.value_len());
                (found, Err(libc::ENOENT))
            }
            Err(e) => (BTreeMap::new(), Err(e.errno())),
        };
        let len = self.theirs.value_len();
        let mut keys = vec![0; (room * self.key) as usize];
        let mut values = vec![0; room as usize * len];
        let cmd = match take {
            true => Cmd::MapLookupAndDeleteBatch,
            false => Cmd::MapLookupBatch,
        };
        let (done, n, _) = self.theirs.batch(cmd, None, &mut keys, &mut values, 0);
        let done = done.map_err(|e| e.errno);
        let n = if done == Err(524) { 0 } else { n };
        let found = self.pairs(&keys[..n * self.key as usize], &values[..n * len], len);
        [ours, (found, done)]
    }

    /// Ids of inner maps are each side's own.
    fn pairs(&self, keys: &[u8], values: &[u8], len: usize) -> BTreeMap<Vec<u8>, Vec<u8>> {
        let keys = keys.chunks(self.key as usize).map(<[u8]>::to_vec);
        let value = |v: &[u8]| match self.names_maps {
            true => vec![u8::from(v.iter().any(|b| *b != 0))],
            false => v.to_vec(),
        };
        keys.zip(values.chunks(len).map(value)).collect()
    }
}

#[test]
fn every_type_as_the_kernel() {
    kernel::require().unwrap();
    let vm = vm();
    for map_type in TYPES {
        let two = two(&vm, map_type);
        let same = |what: &str, [ours, theirs]: [Done; 2]| {
            assert_eq!(ours, theirs, "{map_type:?} {what}: ours, the kernel's");
        };
        let found = |what: &str, [ours, theirs]: [Found; 2]| {
            assert_eq!(ours, theirs, "{map_type:?} {what}: ours, the kernel's");
        };
        found("lookup of nothing", two.lookup(false));
        same("update", two.update(GIVEN, 0));
        found("lookup", two.lookup(false));
        for flags in [1, 2, 4, 8, 1 << 40] {
            same(
                &format!("update, flags {flags:#x}"),
                two.update(GIVEN, flags),
            );
        }
        same("update of too many", two.update(MAX + 3, 0));
        found("lookup when full", two.lookup(false));
        same("delete", two.delete(2));
        same("delete what is gone", two.delete(3));
        same("update", two.update(GIVEN, 0));
        found("take", two.lookup(true));
        found("take of nothing", two.lookup(true));
        found("lookup", two.lookup(false));
    }
}
