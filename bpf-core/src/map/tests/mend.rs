//! Storage after its writer was stopped, and after worse.
use super::*;
use crate::uapi::errno;
use alloc::vec::Vec;

const TYPES: [(MapType, u32, u32, u32, u32); 9] = [
    (MapType::Array, 4, 12, 33, 0),
    (MapType::Hash, 4, 8, 100, 0),
    (MapType::Hash, 20, 3, 61, 0),
    (MapType::LruHash, 4, 8, 40, 0),
    (MapType::PercpuHash, 8, 8, 50, 0),
    (MapType::LruPercpuHash, 8, 4, 50, 0),
    (MapType::LpmTrie, 8, 8, 60, 1),
    (MapType::Queue, 0, 8, 20, 0),
    (MapType::Stack, 0, 8, 20, 0),
];

fn key_of(t: MapType, len: u32, n: u64) -> Vec<u8> {
    let mut key = alloc::vec![0u8; len as usize];
    if t == MapType::LpmTrie {
        key[..4].copy_from_slice(&((n % 33) as u32).to_le_bytes());
        key[4..].copy_from_slice(&(n.wrapping_mul(0x9e37_79b9) as u32).to_be_bytes());
    } else {
        for (to, from) in key.iter_mut().zip(n.to_le_bytes()) {
            *to = from;
        }
    }
    key
}

fn change(p: &Pair, rng: &mut Rng, steps: u32) {
    let geo = *p.map.geometry();
    for _ in 0..steps {
        let key = key_of(geo.map_type, geo.key_size, rng.below(200));
        let value = alloc::vec![rng.next() as u8; geo.user_value_size() as usize];
        let cpu = rng.below(geo.cpus.into()) as u32;
        let _ = match rng.below(3) {
            0 if geo.key_size > 0 => p.map.sys_delete(cpu, &key).map(|()| false),
            0 => p.map.pop(&mut value.clone()).map(|()| false),
            _ => p.map.sys_update(cpu, &key, &value, 0).map(|()| true),
        };
    }
}

fn contents(p: &Pair) -> Vec<(Vec<u8>, Vec<u8>)> {
    let geo = *p.map.geometry();
    let mut all = Vec::new();
    let mut key = alloc::vec![0; geo.key_size as usize];
    let mut last: Option<Vec<u8>> = None;
    while geo.key_size > 0 && p.map.sys_next_key(last.as_deref(), &mut key).is_ok() {
        let mut value = alloc::vec![0; geo.user_value_size() as usize];
        p.map.sys_lookup(&key, &mut value, 0).unwrap();
        all.push((key.clone(), value));
        last = Some(key.clone());
    }
    all.sort();
    all
}

#[test]
fn what_is_whole_stays_as_it_is_and_full_capacity_remains() {
    for (n, (t, key, value, max, flags)) in TYPES.into_iter().enumerate() {
        let p = pair(t, key, value, max, flags, 3);
        let mut rng = Rng(n as u64);
        for round in 0..20 {
            change(&p, &mut rng, 150);
            let before = contents(&p);
            assert_eq!(p.host.mend(), Ok(Mended::default()), "{t:?} round {round}");
            assert_eq!(contents(&p), before, "{t:?} round {round}");
        }
        // All of it can be used: no element was lost or is there twice.
        let geo = *p.map.geometry();
        let full = matches!(t, MapType::Hash | MapType::PercpuHash);
        if full {
            for (k, _) in contents(&p) {
                p.map.sys_delete(0, &k).unwrap();
            }
            p.host.mend().unwrap();
            let value = alloc::vec![1; geo.user_value_size() as usize];
            for i in 0..u64::from(geo.max_entries) {
                let k = key_of(t, key, 1000 + i);
                p.map.sys_update(i as u32 % 3, &k, &value, 0).unwrap();
            }
            let k = key_of(t, key, 5000);
            assert_eq!(errno_of(p.map.sys_update(0, &k, &value, 0)), errno::E2BIG);
        }
    }
}

/// A writer that is stopped leaves the storage as it is after one of its stores.
/// What comes of random words there is harmless or found, and what was found
/// whole works as a map.
#[test]
fn garbage_is_found_or_harmless() {
    let (mut whole, mut damaged) = (0, 0);
    for (n, (t, key, value, max, flags)) in TYPES.into_iter().enumerate() {
        for round in 0..300 {
            let p = pair(t, key, value, max, flags, 2);
            let mut rng = Rng(1000 * n as u64 + round);
            change(&p, &mut rng, 80);
            for _ in 0..=rng.below(4) {
                let at = rng.below(p.region.len() / 4) * 4;
                let word = match rng.below(4) {
                    0 => 0,
                    1 => rng.below(8) as u32,
                    2 => p.region.load_u32(rng.below(p.region.len() / 4) * 4),
                    _ => rng.next() as u32,
                };
                p.region.store_u32(at, word);
            }
            match p.host.mend() {
                Ok(_) => {
                    whole += 1;
                    assert_eq!(p.host.mend(), Ok(Mended::default()));
                    let before = contents(&p);
                    assert!(before.len() <= p.map.geometry().max_entries as usize);
                    change(&p, &mut rng, 80);
                    assert!(p.host.mend().is_ok(), "{t:?} {round}");
                }
                Err(e) => {
                    assert_eq!(e.errno, errno::EIO);
                    damaged += 1;
                }
            }
        }
    }
    assert!(
        whole > 300 && damaged > 100,
        "{whole} whole, {damaged} damaged"
    );
}

#[test]
fn locks_that_nobody_will_free_are_freed() {
    let fields = Fields {
        spin_lock: Some(4),
        timer: None,
    };
    for t in [MapType::Array, MapType::Hash] {
        let geo = Geometry::new(t, 4, 8, 10, 0, 1, 0).unwrap();
        let p = pair_with(geo, fields);
        p.map
            .sys_update(0, &1u32.to_le_bytes(), &[0; 8], 0)
            .unwrap();
        let value = p.map.lookup(0, &1u32.to_le_bytes()).unwrap();
        let lock = p.region.offset_of(value).unwrap() + 4;
        assert!(p.region.lock(lock));
        p.host.mend().unwrap();
        assert_eq!(p.region.load_u32(lock), 0);
    }
    // Those of the structure itself: bucket, trie, queue, ring.
    let p = pair(MapType::Hash, 4, 8, 10, 0, 1);
    let Layout::Hash(l) = p.map.geometry().layout else {
        panic!("no hash table")
    };
    for bucket in 0..l.buckets {
        p.region.store_u32(l.line_base + u64::from(bucket) * 64, 1);
    }
    p.host.mend().unwrap();
    for n in 0..10u32 {
        p.map.sys_update(0, &n.to_le_bytes(), &[1; 8], 0).unwrap();
    }
}

#[test]
fn records_that_were_never_committed_are_skipped() {
    let p = pair(MapType::Ringbuf, 0, 0, 4096, 0, 1);
    let mut consumer = p.host.consumer().unwrap();
    p.map.output(b"before", 0).unwrap();
    p.map.reserve(24).unwrap();
    p.map.output(b"behind", 0).unwrap();
    let mut out = Vec::new();
    assert_eq!(consumer.next(&mut out), Ok(true));
    assert_eq!(consumer.next(&mut out), Ok(false));
    assert_eq!(p.host.mend(), Ok(Mended { records: 1 }));
    assert_eq!(consumer.next(&mut out), Ok(true));
    assert_eq!(out, b"behind");
    assert_eq!(consumer.next(&mut out), Ok(false));
    p.region.store_u64(4096, 1 << 40);
    assert_eq!(errno_of(p.host.mend()), errno::EIO);
}
