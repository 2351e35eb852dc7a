//! The same attributes give the same errno.

use super::pair::vm;
use bpf_core::uapi::{MapType, errno};
use bpfvisor::MapSpec;
use bpfvisor_tests::generate::Rng;
use bpfvisor_tests::kernel;

const TYPES: [MapType; 17] = [
    MapType::Hash,
    MapType::Array,
    MapType::ProgArray,
    MapType::PercpuHash,
    MapType::PercpuArray,
    MapType::LruHash,
    MapType::LruPercpuHash,
    MapType::LpmTrie,
    MapType::Queue,
    MapType::Stack,
    MapType::Ringbuf,
    MapType::PerfEventArray,
    MapType::BloomFilter,
    MapType::Devmap,
    MapType::DevmapHash,
    MapType::Cpumap,
    MapType::Xskmap,
];

const KEYLESS: [MapType; 4] = [
    MapType::Queue,
    MapType::Stack,
    MapType::Ringbuf,
    MapType::BloomFilter,
];

#[test]
fn creating_gives_the_kernels_errno() {
    kernel::require().unwrap();
    let vm = vm();
    let mut rng = Rng::new(5);
    let mut created = 0;
    for _ in 0..1500 {
        let map_type = rng.pick(&TYPES);
        let key = match rng.below(3) {
            0 => rng.pick(&[0, 1, 5, 8, 259, 260, 261, 512, 513]),
            _ => {
                if KEYLESS.contains(&map_type) {
                    0
                } else {
                    4
                }
            }
        };
        let value = match rng.below(3) {
            0 => rng.pick(&[0, 1, 5, 40, 32768, 32769, 1 << 16, u32::MAX, u32::MAX - 7]),
            _ => {
                if map_type == MapType::Ringbuf {
                    0
                } else {
                    4
                }
            }
        };
        let max = rng.pick(&[0, 1, 3, 8, 4096, 4097, 8192]);
        let bits = rng.pick(&[0, 0, 1, 1, 2, 3]);
        let flags = (0..bits).fold(0, |f, _| f | 1u32 << rng.below(16));
        let extra = if rng.one_in(12) { rng.below(20) } else { 0 };
        // Memory is not what is compared, and the kernel tries hard to find it.
        let size = u64::from(max).saturating_mul(u64::from(value) + u64::from(key) + 64);
        if size > 4 << 20 && value < 1 << 31 {
            continue;
        }
        let theirs = kernel::Map::create(&kernel::MapSpec {
            flags,
            extra,
            ..kernel::MapSpec::new(map_type, key, value, max)
        });
        let ours = MapSpec::new("m", map_type, key, value, max)
            .flags(flags)
            .extra(extra);
        let ours = vm.create_map(ours);
        let what = format!("{map_type:?} {key} {value} {max} {flags:#x} {extra}");
        let (ours, theirs) = (
            ours.map(drop).map_err(|e| e.errno()),
            theirs.map(drop).map_err(|e| e.errno),
        );
        created += u32::from(theirs.is_ok());
        let memory = [ours, theirs]
            .iter()
            .all(|r| matches!(r, Ok(()) | Err(errno::ENOMEM | errno::E2BIG)));
        if ours != theirs && !memory {
            panic!("{what}: ours {ours:?}, the kernel's {theirs:?}");
        }
    }
    assert!(created > 100, "too few are valid: {created}");
}
