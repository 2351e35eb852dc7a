//! Maps of interfaces and CPUs, as the host sees them.

use super::pair::vm;
use bpf_core::uapi::MapType;
use bpfvisor::MapSpec;
use bpfvisor_tests::generate::Rng;
use bpfvisor_tests::kernel;

/// The loopback device, which every kernel has, and none.
const INTERFACES: [u32; 3] = [1, 1, 0];

fn value(rng: &mut Rng, map_type: MapType, size: u32) -> Vec<u8> {
    let first = match map_type {
        MapType::Cpumap => rng.pick(&[0, 1, 8, 16384, 16385, u32::MAX]),
        _ => rng.pick(&INTERFACES),
    };
    // A program: none, in both spellings, or one that is not there.
    let second = rng.pick(&[0, 0, 0, u32::MAX, 900]);
    let mut value = first.to_ne_bytes().to_vec();
    value.extend(second.to_ne_bytes());
    value.truncate(size as usize);
    value
}

fn key(rng: &mut Rng, map_type: MapType) -> [u8; 4] {
    match map_type {
        // Those that the machine has, and those that the map has not.
        MapType::Cpumap => rng.pick(&[0u32, 1, 2, 3]).to_ne_bytes(),
        _ => rng.pick(&[0u32, 1, 2, 3, 4, 5, u32::MAX]).to_ne_bytes(),
    }
}

#[test]
fn maps_of_interfaces_and_cpus() {
    kernel::require().unwrap();
    let vm = vm();
    let mut rng = Rng::new(11);
    for map_type in [MapType::Devmap, MapType::DevmapHash, MapType::Cpumap] {
        for size in [4, 8] {
            let max = match map_type {
                MapType::Cpumap => 2.min(kernel::possible_cpus() as u32),
                _ => 4,
            };
            let ours = MapSpec::new("m", map_type, 4, size, max);
            let ours = vm.create_map(ours).unwrap();
            let theirs = kernel::MapSpec::new(map_type, 4, size, max);
            let theirs = kernel::Map::create(&theirs).unwrap();
            for round in 0..400 {
                let key = key(&mut rng, map_type);
                let value = value(&mut rng, map_type, size);
                let flags = rng.pick(&[0, 0, 0, 1, 2, 3, 4, 8, 1 << 40]);
                let op = rng.below(6);
                let (a, b) = match op {
                    0..=2 => (
                        ours.update(&key, &value, flags)
                            .map(|()| None)
                            .map_err(|e| e.errno()),
                        theirs
                            .update(&key, &value, flags)
                            .map(|()| None)
                            .map_err(|e| e.errno),
                    ),
                    3 => (
                        ours.remove(&key).map(|()| None).map_err(|e| e.errno()),
                        theirs.delete(&key).map(|()| None).map_err(|e| e.errno),
                    ),
                    4 => (
                        ours.lookup_and_delete(&key).map_err(|e| e.errno()),
                        theirs.lookup_and_delete(&key).map_err(|e| e.errno),
                    ),
                    _ => (
                        ours.get(&key).map_err(|e| e.errno()),
                        theirs.lookup(&key).map_err(|e| e.errno),
                    ),
                };
                assert_eq!(
                    a, b,
                    "{map_type:?} of {size}, round {round}: operation {op}, key {key:?}, value \
                     {value:?}, flags {flags:#x}: ours, the kernel's"
                );
                let mut keys: Vec<_> = ours.keys().map(|k| k.unwrap()).collect();
                let mut all = Vec::new();
                let mut at = theirs.next_key(None).unwrap();
                while let Some(k) = at {
                    at = theirs.next_key(Some(&k)).unwrap();
                    all.push(k);
                }
                keys.sort_unstable();
                all.sort_unstable();
                assert_eq!(keys, all, "{map_type:?} of {size}, round {round}");
            }
        }
    }
}
