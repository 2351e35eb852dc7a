//! What is refused at creation.

use super::*;
use crate::uapi::{errno, map_flags as f};

#[test]
fn wrong_attributes_get_the_kernels_errno() {
    use MapType::*;
    let cases: &[(MapType, u32, u32, u32, u32, i32)] = &[
        (Array, 4, 8, 1, 0, 0),
        (Array, 8, 8, 1, 0, errno::EINVAL),
        (Array, 4, 0, 1, 0, errno::EINVAL),
        (Array, 4, 8, 0, 0, errno::EINVAL),
        (Array, 4, 8, 1, f::NO_PREALLOC, errno::EINVAL),
        (Array, 4, 8, 1, f::MMAPABLE, 0),
        (Array, 4, 1 << 31, 1, 0, errno::E2BIG),
        (Array, 4, i32::MAX as u32, u32::MAX, 0, errno::ENOMEM),
        (PercpuArray, 4, 8, 1, f::MMAPABLE, errno::EINVAL),
        (PercpuArray, 4, 32769, 1, 0, errno::E2BIG),
        (ProgArray, 4, 8, 1, 0, errno::EINVAL),
        (ProgArray, 4, 4, 1, f::RDONLY_PROG, errno::EINVAL),
        (
            Hash,
            4,
            8,
            1,
            f::RDONLY_PROG | f::WRONLY_PROG,
            errno::EINVAL,
        ),
        (Hash, 4, 8, 1, f::RDONLY | f::WRONLY, errno::EINVAL),
        (Hash, 0, 8, 1, 0, errno::EINVAL),
        (Hash, 4, 0, 1, 0, errno::EINVAL),
        (Hash, 4, 8, 0, 0, errno::EINVAL),
        (Hash, 4, 8, 1, f::NO_COMMON_LRU, errno::EINVAL),
        (Hash, 4, 8, 1, 1 << 20, errno::EINVAL),
        (Hash, 4, 4 << 20, 1, 0, errno::E2BIG),
        (Hash, 4, 8, u32::MAX, f::NO_PREALLOC, errno::E2BIG),
        (PercpuHash, 4, 32769, 1, 0, errno::E2BIG),
        (LruHash, 4, 8, 1, f::NO_PREALLOC, errno::ENOTSUPP),
        (LpmTrie, 8, 8, 1, 0, errno::EINVAL),
        (LpmTrie, 4, 8, 1, f::NO_PREALLOC, errno::EINVAL),
        (LpmTrie, 261, 8, 1, f::NO_PREALLOC, errno::EINVAL),
        (LpmTrie, 260, 8, 1, f::NO_PREALLOC, 0),
        (Queue, 4, 8, 1, 0, errno::EINVAL),
        (Queue, 0, 8, 1, f::NO_PREALLOC, errno::EINVAL),
        (Stack, 0, 8, 1, 0, 0),
        (Ringbuf, 0, 0, 4096, 0, 0),
        (Ringbuf, 0, 0, 2048, 0, errno::EINVAL),
        (Ringbuf, 0, 0, 4096 * 3, 0, errno::EINVAL),
        (Ringbuf, 4, 0, 4096, 0, errno::EINVAL),
        (Sockmap, 4, 4, 1, 0, errno::EOPNOTSUPP),
    ];
    for (t, k, v, n, flags, want) in cases {
        let got = errno_of(Geometry::new(*t, *k, *v, *n, *flags, 4, 0));
        assert_eq!(got, *want, "{t:?} {k} {v} {n} {flags:#x}");
    }
    assert_eq!(
        errno_of(Geometry::new(Array, 4, 8, 1, 0, 1, 5)),
        errno::EINVAL,
        "map_extra"
    );
}

#[test]
fn memory_per_entry_is_below_the_kernels() {
    for (key, value, n) in [(4, 8, 1 << 20), (16, 64, 1 << 16)] {
        let geo = Geometry::new(MapType::Hash, key, value, n, 0, 2, 0).unwrap();
        let kernel = 48 + 16 + u64::from(key).next_multiple_of(8) + u64::from(value);
        assert!(geo.storage_len / u64::from(n) < kernel);
    }
}

#[test]
fn per_cpu_lists_round_the_capacity() {
    let geo = Geometry::new(MapType::LruHash, 4, 8, 10, f::NO_COMMON_LRU, 4, 0).unwrap();
    assert_eq!(geo.max_entries, 12);
}

#[test]
fn short_storage_is_refused() {
    let geo = Geometry::new(MapType::Array, 4, 8, 1000, 0, 1, 0).unwrap();
    let region = Region::zeroed(geo.storage_len - 64);
    assert!(Map::create(geo, region, 0, Fields::default()).is_err());
}

/// The highest byte that each layout leads to lies in the storage.
#[test]
fn layouts_lie_in_their_storage() {
    let types: Vec<MapType> = MapType::ALL.to_vec();
    let mut rng = Rng(8);
    let mut made = 0;
    for _ in 0..20_000 {
        let t = types[rng.below(types.len() as u64) as usize];
        let up_to = |rng: &mut Rng, bits| {
            let max = 1 << rng.below(bits);
            rng.below(max)
        };
        let key = [4, 0, up_to(&mut rng, 14) as u32][rng.below(3) as usize];
        let value = [4, 0, up_to(&mut rng, 14) as u32][rng.below(3) as usize];
        let (n, flags, cpus) = (up_to(&mut rng, 20), rng.below(2), 1 + rng.below(64));
        let Ok(g) = Geometry::new(t, key, value, n as u32, flags as u32, cpus as u32, 0) else {
            continue;
        };
        made += 1;
        let last = u64::from(g.max_entries) - 1;
        let (value, cpu) = (u64::from(value), if g.is_per_cpu() { cpus - 1 } else { 0 });
        let end = match g.layout {
            Layout::Array(l) => cpu * l.cpu_stride + last * l.stride + value,
            Layout::Queue(l) => l.base + (u64::from(l.slots) - 1) * l.stride + value,
            Layout::Ring(l) => l.data + 2 * (l.mask + 1),
            Layout::Bloom(l) => (u64::from(l.mask) + 1) / 8,
            Layout::Lpm(l) => l.base + (u64::from(l.nodes) - 1) * l.stride + l.value + value,
            Layout::Hash(l) => {
                let e = u64::from(l.elements) - 1;
                assert!(l.line_base + u64::from(l.lines) * 64 <= l.slab);
                assert!(
                    l.slab + e * l.key_stride + u64::from(key) <= l.values + e * l.value_stride
                );
                l.values + cpu * l.cpu_stride + e * l.value_stride + value
            }
        };
        assert!(end <= g.storage_len, "{g:?}");
    }
    assert!(made > 1000, "{made}");
}

#[test]
fn regions_can_be_parted() {
    let r = Region::zeroed(256);
    let part = r.sub(64, 128).unwrap();
    part.store_u32(4, 7);
    assert_eq!(
        (r.load_u32(68), part.len(), part.addr(0)),
        (7, 128, r.addr(64))
    );
    assert!(
        r.sub(64, 256).is_none() && r.sub(8, 8).is_none() && r.sub(u64::MAX - 63, 64).is_none()
    );
    assert_eq!(
        (part.offset_of(r.addr(64)), part.offset_of(r.addr(0))),
        (Some(0), None)
    );
}

/// Where a lock or timer lies is told by whoever creates the map.
#[test]
fn fields_outside_the_value_are_refused() {
    let geo = Geometry::new(MapType::Hash, 4, 24, 4, 0, 1, 0).unwrap();
    let create = |spin_lock, timer| {
        let fields = Fields { spin_lock, timer };
        let region = Region::zeroed(geo.storage_len);
        let host = MapReader::new(geo, region.clone(), 0, fields).map(drop);
        let guest = Map::create(geo, region, 0, fields).map(drop);
        assert_eq!(host, guest);
        guest.map_err(|e| e.errno)
    };
    for (lock, timer) in [(Some(0), Some(8)), (Some(16), Some(0)), (Some(20), None)] {
        assert_eq!(create(lock, timer), Ok(()), "{lock:?} {timer:?}");
    }
    for (lock, timer) in [
        (Some(24), None),
        (Some(2), None),
        (None, Some(16)),
        (None, Some(0xefff_ffff)),
        (Some(u32::MAX - 1), None),
        (Some(8), Some(0)),
    ] {
        assert_eq!(
            create(lock, timer),
            Err(errno::EINVAL),
            "{lock:?} {timer:?}"
        );
    }
}
