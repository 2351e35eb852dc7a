//! Map storage that a hostile guest wrote, read by the host.

use bpf_core::map::{Fields, Geometry, MapReader, Region};
use bpf_core::uapi::{MapType, errno, map_flags};

const SEED: u64 = 7;
/// Type, bytes per key and value, entries, flags.
const KINDS: [(MapType, u32, u32, u32, u32); 20] = [
    (MapType::Array, 4, 12, 9, 0),
    (MapType::PercpuArray, 4, 8, 5, 0),
    (MapType::Hash, 4, 8, 20, 0),
    (MapType::Hash, 20, 3, 13, 0),
    (MapType::LruHash, 8, 8, 10, 0),
    (MapType::PercpuHash, 8, 8, 10, 0),
    (MapType::LpmTrie, 8, 8, 10, 1),
    (MapType::Queue, 0, 8, 10, 0),
    (MapType::Ringbuf, 0, 0, 4096, 0),
    (MapType::ArrayOfMaps, 4, 4, 8, 0),
    (MapType::Array, 4, 12, 9, map_flags::MMAPABLE),
    (MapType::LruPercpuHash, 4, 8, 10, 0),
    (MapType::LpmTrie, 20, 3, 10, 1),
    (MapType::Queue, 0, 13, 3, 0),
    (MapType::Stack, 0, 5, 10, 0),
    (MapType::BloomFilter, 0, 8, 10, 0),
    (MapType::HashOfMaps, 4, 4, 8, 0),
    (MapType::ProgArray, 4, 4, 8, 0),
    (MapType::PerfEventArray, 4, 4, 8, 0),
    (MapType::DevmapHash, 4, 8, 8, 0),
];

fn geometry(kind: usize) -> Option<Geometry> {
    let (map_type, key, value, entries, flags) = *KINDS.get(kind % KINDS.len())?;
    Geometry::new(map_type, key, value, entries, flags, 2, 0).ok()
}

pub(super) fn run(data: &[u8]) -> bool {
    let Some((kind, words)) = data.split_first() else {
        return false;
    };
    let Some(geo) = geometry(usize::from(*kind)) else {
        return false;
    };
    let region = Region::zeroed(geo.storage_len);
    let len = words.len().min(geo.storage_len as usize);
    region.copy_in(0, &words[..len]);
    let Ok(reader) = MapReader::new(geo, region, SEED, Fields::default()) else {
        return false;
    };
    read(&reader);
    let whole = match reader.mend() {
        Ok(_) => true,
        Err(e) => {
            assert_eq!(e.errno, errno::EIO);
            false
        }
    };
    // Mended is mended.
    assert!(!whole || reader.mend().is_ok());
    read(&reader);
    whole
}

/// Everything that the host does with storage, each bounded by the geometry.
fn read(reader: &MapReader) {
    let geo = reader.geometry();
    let mut key = vec![0; geo.key_size as usize];
    let mut value = vec![0; geo.user_value_size() as usize];
    let mut last: Option<Vec<u8>> = None;
    for _ in 0..2 * geo.max_entries.min(64) {
        if reader.next_key(last.as_deref(), &mut key).is_err() {
            break;
        }
        let _ = reader.lookup(&key, &mut value, 0);
        last = Some(key.clone());
    }
    let (mut keys, mut values) = (key.repeat(32), value.repeat(32));
    let mut position = 0;
    for _ in 0..64 {
        match reader.batch(position, &mut keys, &mut values) {
            Ok((count, Some(next))) if next > position => {
                assert!(count <= 32);
                position = next;
            }
            _ => break,
        }
    }
    if let Some(mut consumer) = reader.consumer() {
        let mut record = Vec::new();
        for _ in 0..1024 {
            match consumer.next(&mut record) {
                Ok(true) => assert!(record.len() as u64 <= geo.storage_len),
                _ => break,
            }
        }
        assert!(consumer.available() <= geo.storage_len);
    }
}

pub(super) fn seeds() -> Vec<Vec<u8>> {
    (0..KINDS.len()).filter_map(seed).collect()
}

/// Storage of a map in use.
fn seed(kind: usize) -> Option<Vec<u8>> {
    let geo = geometry(kind)?;
    let region = Region::zeroed(geo.storage_len);
    let map = bpf_core::map::Map::create(geo, region.clone(), SEED, Fields::default()).ok()?;
    let value = vec![7; geo.user_value_size() as usize];
    for n in 0..30u32 {
        let mut key = vec![n as u8; geo.key_size as usize];
        if geo.map_type == MapType::LpmTrie {
            key[..4].copy_from_slice(&(n % 33).to_le_bytes());
        }
        let _ = map.sys_update(n % 2, &key, &value, 0);
        let _ = map.output(&key, 0);
        if n % 5 == 0 && !key.is_empty() {
            let _ = map.delete(0, &key);
        }
    }
    let mut seed = vec![kind as u8];
    seed.extend(region.to_vec());
    Some(seed)
}
