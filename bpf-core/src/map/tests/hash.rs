//! Hash tables against a model.

use super::*;
use crate::uapi::{elem_flags as f, errno};
use alloc::collections::BTreeMap;
use alloc::vec;
use alloc::vec::Vec;

type Model = BTreeMap<Vec<u8>, Vec<u8>>;

fn key(n: u64, size: usize) -> Vec<u8> {
    let mut k = vec![0; size];
    let bytes = n.to_le_bytes();
    let len = size.min(8);
    k[..len].copy_from_slice(&bytes[..len]);
    k
}

/// What Linux answers to an update.
fn model_update(m: &mut Model, max: usize, k: &[u8], v: &[u8], flags: u64) -> i32 {
    let there = m.contains_key(k);
    match flags {
        f::NOEXIST if there => errno::EEXIST,
        f::EXIST if !there => errno::ENOENT,
        3.. => errno::EINVAL,
        _ if !there && m.len() == max => errno::E2BIG,
        _ => {
            m.insert(k.to_vec(), v.to_vec());
            0
        }
    }
}

fn check_whole(p: &Pair, m: &Model) {
    let (ks, vs) = (
        p.map.geometry().key_size as usize,
        p.map.geometry().user_value_size() as usize,
    );
    // By next key, on both sides.
    let mut seen = Model::new();
    let mut last: Option<Vec<u8>> = None;
    loop {
        let (mut a, mut b) = (vec![0; ks], vec![0; ks]);
        let host = p.host.next_key(last.as_deref(), &mut a);
        let guest = p.map.sys_next_key(last.as_deref(), &mut b);
        assert_eq!(host.is_ok(), guest.is_ok());
        if host.is_err() {
            assert_eq!(guest, Err(MapError::NO_KEY));
            break;
        }
        assert_eq!(a, b);
        let mut v = vec![0; vs];
        p.host.lookup(&a, &mut v, 0).unwrap();
        assert!(seen.insert(a.clone(), v).is_none(), "a key came twice");
        last = Some(a);
    }
    assert_eq!(&seen, m);
    // By batches of the host.
    let mut seen = Model::new();
    let mut position = Some(0);
    while let Some(at) = position {
        let (mut k, mut v) = (vec![0; ks * 40], vec![0; vs * 40]);
        let (n, next) = p.host.batch(at, &mut k, &mut v).unwrap();
        for i in 0..n as usize {
            let old = seen.insert(k[i * ks..][..ks].to_vec(), v[i * vs..][..vs].to_vec());
            assert!(old.is_none());
        }
        position = next;
    }
    assert_eq!(&seen, m);
    // By a program's walk.
    let mut cursor = Cursor::default();
    let mut n = 0;
    while let Some(e) = p.map.next(0, &mut cursor) {
        assert!(m.contains_key(&p.at(e.key, ks)));
        n += 1;
    }
    assert_eq!(n, m.len());
}

fn run(key_size: u32, value_size: u32, max: u32, ops: u32, seed: u64) {
    let p = pair(MapType::Hash, key_size, value_size, max, 0, 2);
    let (ks, vs) = (key_size as usize, value_size as usize);
    let mut m = Model::new();
    let mut rng = Rng(seed);
    for i in 0..ops / SLOWER {
        let k = key(rng.below(u64::from(max) * 3 / 2 + 1), ks);
        let v: Vec<u8> = (0..vs).map(|_| rng.next() as u8).collect();
        let cpu = rng.below(2) as u32;
        match rng.below(12) {
            0..6 => {
                let flags = [0, 0, 0, 1, 2, 3, 8][rng.below(7) as usize];
                let want = model_update(&mut m, max as usize, &k, &v, flags);
                assert_eq!(
                    errno_of(p.map.update(cpu, &k, &v, flags)),
                    want,
                    "update {i}"
                );
            }
            6..8 => {
                let want = if m.remove(&k).is_some() {
                    0
                } else {
                    errno::ENOENT
                };
                assert_eq!(errno_of(p.map.delete(cpu, &k)), want);
            }
            8 => {
                let mut out = vec![0; vs];
                let got = p.map.sys_take(cpu, &k, &mut out, 0);
                match m.remove(&k) {
                    Some(v) => assert_eq!((got, out), (Ok(()), v)),
                    None => assert_eq!(errno_of(got), errno::ENOENT),
                }
            }
            _ => {
                let got = p.map.lookup(cpu, &k).map(|a| p.at(a, vs));
                assert_eq!(got.as_ref(), m.get(&k));
                let mut out = vec![0; vs];
                let got = p.host.lookup(&k, &mut out, 0).map(|()| out);
                assert_eq!(got.ok().as_ref(), m.get(&k));
            }
        }
        if i % (ops / 8) == 0 {
            check_whole(&p, &m);
        }
    }
    check_whole(&p, &m);
}

#[test]
fn hash_behaves_as_its_model() {
    for (key, value) in [(4, 8), (8, 4), (16, 16), (1, 1), (7, 3), (20, 100), (64, 1)] {
        for (max, ops) in [(1, 300), (7, 2000), (60, 4000)] {
            run(key, value, max, ops, u64::from(key * 1000 + max));
        }
    }
    run(4, 8, 2000, 20_000, 99);
}

#[test]
fn a_full_map_takes_exactly_max_entries_and_updates() {
    let p = pair(MapType::Hash, 4, 8, 1000, 0, 4);
    for i in 0..1000u32 {
        p.map
            .update(i % 4, &i.to_le_bytes(), &[0; 8], f::NOEXIST)
            .unwrap();
    }
    for i in 0..5000u32 {
        let full = p.map.update(i % 4, &(5000 + i).to_le_bytes(), &[0; 8], 0);
        assert_eq!(errno_of(full), errno::E2BIG);
        p.map
            .update(i % 4, &(i % 1000).to_le_bytes(), &[i as u8; 8], f::EXIST)
            .unwrap();
    }
    // What one CPU frees another can use.
    p.map.delete(0, &7u32.to_le_bytes()).unwrap();
    p.map.update(3, &7777u32.to_le_bytes(), &[0; 8], 0).unwrap();
}

#[test]
fn wrong_sizes_and_flags_are_refused() {
    let p = pair(MapType::Hash, 4, 8, 10, 0, 1);
    assert_eq!(
        p.map.update(0, &[0; 3], &[0; 8], 0),
        Err(MapError::KEY_SIZE)
    );
    assert_eq!(
        p.map.update(0, &[0; 4], &[0; 7], 0),
        Err(MapError::VALUE_SIZE)
    );
    assert_eq!(p.map.delete(0, &[0; 5]), Err(MapError::KEY_SIZE));
    assert_eq!(p.map.lookup(0, &[0; 5]), None);
    assert_eq!(p.map.update(0, &[0; 4], &[0; 8], 16), Err(MapError::FLAGS));
    assert_eq!(
        errno_of(p.map.update(0, &[0; 4], &[0; 8], f::F_LOCK)),
        errno::EINVAL
    );
    assert_eq!(
        p.host.lookup(&[0; 4], &mut [0; 8], 1),
        Err(MapError::FLAGS.into())
    );
    assert_eq!(
        errno_of(p.map.sys_lookup(&[0; 4], &mut [0; 8], f::F_LOCK)),
        errno::EINVAL
    );
    let (mut k, mut v) = ([0; 4], [0; 0]);
    p.map.update(0, &[0; 4], &[0; 8], 0).unwrap();
    let full = p.host.batch(0, &mut k, &mut v);
    assert!(matches!(full, Err(ReadError::Map(e)) if e.errno == errno::ENOSPC));
}

/// Keys that all fall in one bucket: long chains work, and lines come back.
#[test]
fn chains_grow_and_shrink() {
    let p = pair(MapType::Hash, 4, 8, 5, 0, 1);
    assert!(matches!(p.map.geometry().layout, Layout::Hash(l) if l.buckets == 1));
    let p = pair(MapType::Hash, 4, 8, 500, 0, 1);
    let Layout::Hash(l) = p.map.geometry().layout else {
        panic!()
    };
    let hasher = crate::map::hash::Hasher::new(42);
    let bucket = |k: u32| ((hasher.hash(&k.to_le_bytes()) >> 32) * u64::from(l.buckets)) >> 32;
    let same: Vec<u32> = (0..).filter(|k| bucket(*k) == 3).take(500).collect();
    let mut rng = Rng(1);
    for round in 0..20 {
        let mut m = Model::new();
        for k in &same {
            let (k, v) = (k.to_le_bytes(), [round; 8]);
            p.map.update(0, &k, &v, f::NOEXIST).unwrap();
            m.insert(k.to_vec(), v.to_vec());
        }
        assert_eq!(
            errno_of(p.map.update(0, &[255; 4], &[0; 8], 0)),
            errno::E2BIG
        );
        let mut order = same.clone();
        for i in (1..order.len()).rev() {
            order.swap(i, rng.below(i as u64 + 1) as usize);
        }
        for (i, k) in order.iter().enumerate() {
            p.map.delete(0, &k.to_le_bytes()).unwrap();
            m.remove(&k.to_le_bytes()[..]);
            if i % 50 == 0 {
                let mut cursor = Cursor::default();
                let n = core::iter::from_fn(|| p.map.next(0, &mut cursor)).count();
                assert_eq!(n, m.len());
                for k in m.keys() {
                    assert!(p.map.lookup(0, k).is_some());
                }
            }
        }
    }
}

#[test]
fn a_walk_may_delete_what_it_meets() {
    let p = pair(MapType::Hash, 4, 8, 300, 0, 1);
    for i in 0..300u32 {
        p.map.update(0, &i.to_le_bytes(), &[1; 8], 0).unwrap();
    }
    let (mut cursor, mut n) = (Cursor::default(), 0);
    while let Some(e) = p.map.next(0, &mut cursor) {
        p.map.delete(0, &p.at(e.key, 4)).unwrap();
        n += 1;
    }
    assert_eq!(n, 300);
    assert_eq!(p.map.sys_next_key(None, &mut [0; 4]), Err(MapError::NO_KEY));
}

#[test]
fn batches_delete_what_they_give() {
    let p = pair(MapType::Hash, 4, 8, 300, 0, 1);
    for i in 0..300u32 {
        p.map.update(0, &i.to_le_bytes(), &[1; 8], 0).unwrap();
    }
    let (mut total, mut position) = (0, Some(0));
    while let Some(at) = position {
        let (n, next) = p
            .map
            .sys_batch(0, at, &mut [0; 200], &mut [0; 400], true)
            .unwrap();
        (total, position) = (total + n, next);
    }
    assert_eq!(total, 300);
    assert_eq!(p.map.sys_next_key(None, &mut [0; 4]), Err(MapError::NO_KEY));
}

#[test]
fn per_cpu_values_are_apart() {
    let p = pair(MapType::PercpuHash, 4, 12, 10, 0, 3);
    let k = 5u32.to_le_bytes();
    p.map.update(1, &k, &[7; 12], 0).unwrap();
    assert_eq!(
        p.at(p.map.lookup(0, &k).unwrap(), 12),
        [0; 12],
        "a new key is 0 elsewhere"
    );
    p.map.update(2, &k, &[9; 12], f::EXIST).unwrap();
    let mut all = [1; 48];
    p.host.lookup(&k, &mut all, 0).unwrap();
    let mut want = [0; 48];
    want[16..28].fill(7);
    want[32..44].fill(9);
    assert_eq!(all, want);
    let every: Vec<u8> = (0..48).collect();
    p.map.sys_update(0, &k, &every, 0).unwrap();
    assert_eq!(p.at(p.map.lookup(2, &k).unwrap(), 12), &every[32..44]);
    assert_eq!(
        p.map.sys_update(0, &k, &[0; 12], 0),
        Err(MapError::VALUE_SIZE)
    );
    for i in 0..9u32 {
        p.map
            .update(0, &(i + 10).to_le_bytes(), &[0; 12], f::NOEXIST)
            .unwrap();
    }
    assert_eq!(
        errno_of(p.map.update(0, &[9; 4], &[0; 12], 0)),
        errno::E2BIG
    );
    p.map.delete(0, &k).unwrap();
    assert_eq!(p.map.lookup(1, &k), None);
    p.map.update(1, &k, &[1; 12], 0).unwrap();
    assert_eq!(p.at(p.map.lookup(2, &k).unwrap(), 12), [0; 12]);
}

#[test]
fn spin_locks_stay_out_of_sight() {
    let fields = Fields {
        spin_lock: Some(4),
        timer: None,
    };
    let geo = Geometry::new(MapType::Hash, 4, 16, 4, 0, 1, 0).unwrap();
    let p = pair_with(geo, fields);
    let k = [1; 4];
    p.map.update(0, &k, &[0xff; 16], 0).unwrap();
    let mut want = [0xff; 16];
    want[4..8].fill(0);
    assert_eq!(
        p.at(p.map.lookup(0, &k).unwrap(), 16),
        want,
        "a new lock is free"
    );
    p.map
        .update(0, &k, &[0xee; 16], f::F_LOCK | f::EXIST)
        .unwrap();
    want = [0xee; 16];
    want[4..8].fill(0);
    let mut out = [1; 16];
    p.map.sys_lookup(&k, &mut out, f::F_LOCK).unwrap();
    assert_eq!(out, want);
    assert_eq!(
        p.host.lookup(&k, &mut out, f::F_LOCK),
        Err(ReadError::AskGuest)
    );
    p.poke(
        p.map.lookup(0, &k).unwrap(),
        &[0xaa, 0xaa, 0xaa, 0xaa, 1, 0, 0, 0],
    );
    p.host.lookup(&k, &mut out, 0).unwrap();
    assert_eq!(out[..8], [0xaa, 0xaa, 0xaa, 0xaa, 0, 0, 0, 0]);
}

#[test]
fn lru_never_refuses_and_keeps_what_is_used() {
    for (t, cpus) in [
        (MapType::LruHash, 1),
        (MapType::LruHash, 2),
        (MapType::LruPercpuHash, 2),
    ] {
        let p = pair(t, 4, 8, 100, 0, cpus);
        let hot: Vec<[u8; 4]> = (0..20u32).map(u32::to_le_bytes).collect();
        for k in &hot {
            p.map.update(0, k, &[1; 8], 0).unwrap();
        }
        for i in 100..20_000u32 {
            p.map
                .update(i % cpus, &i.to_le_bytes(), &[2; 8], f::NOEXIST)
                .unwrap();
            if i % 20 == 0 {
                for k in &hot {
                    assert!(p.map.lookup(0, k).is_some(), "a used key went away");
                }
            }
        }
        let mut cursor = Cursor::default();
        let n = core::iter::from_fn(|| p.map.next(0, &mut cursor)).count();
        assert_eq!(n, 100, "a full LRU holds max_entries keys");
        // Existing keys are updated without evicting others.
        for k in &hot {
            p.map.update(0, k, &[3; 8], f::EXIST).unwrap();
        }
        let mut cursor = Cursor::default();
        assert_eq!(
            core::iter::from_fn(|| p.map.next(0, &mut cursor)).count(),
            100
        );
        assert_eq!(
            errno_of(p.map.update(0, &hot[0], &[0; 8], f::NOEXIST)),
            errno::EEXIST
        );
        assert_eq!(
            errno_of(p.map.update(0, &[0xff; 4], &[0; 8], f::EXIST)),
            errno::ENOENT
        );
    }
}

#[test]
fn lru_behaves_as_a_hash_below_its_capacity() {
    let p = pair(MapType::LruHash, 3, 5, 64, 0, 2);
    let mut m = Model::new();
    let mut rng = Rng(5);
    for _ in 0..5000 {
        let k = key(rng.below(64), 3);
        let v: Vec<u8> = (0..5).map(|_| rng.next() as u8).collect();
        if rng.below(3) == 0 {
            assert_eq!(p.map.delete(1, &k).is_ok(), m.remove(&k).is_some());
        } else {
            p.map.update(0, &k, &v, 0).unwrap();
            m.insert(k.clone(), v);
        }
        assert_eq!(p.map.lookup(0, &k).map(|a| p.at(a, 5)).as_ref(), m.get(&k));
    }
    check_whole(&p, &m);
}
