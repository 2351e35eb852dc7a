//! Hash tables under several writers and readers, and over garbage.

use super::*;
use crate::uapi::errno;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

extern crate std;

/// A value that shows whether it is whole, and whose.
fn value(key: u32, turn: u32) -> [u8; 64] {
    let mut v = [0; 64];
    for c in v.chunks_exact_mut(8) {
        c.copy_from_slice(&(u64::from(key) << 32 | u64::from(turn)).to_le_bytes());
    }
    v
}

fn assert_whole(key: u32, v: &[u8; 64]) {
    let first = &v[..8];
    assert!(v.chunks_exact(8).all(|c| c == first), "torn: {v:?}");
    let n = u64::from_le_bytes(first.try_into().unwrap());
    assert_eq!((n >> 32) as u32, key, "another key's value");
}

/// Keys below `STAY` are only ever replaced; the others come and go.
const STAY: u32 = 64;
const ALL: u32 = 256;

#[test]
fn no_torn_value_no_lost_key_no_phantom() {
    let p = pair(MapType::Hash, 4, 64, ALL, 0, 2);
    for k in 0..STAY {
        p.map.update(0, &k.to_le_bytes(), &value(k, 0), 0).unwrap();
    }
    let done = AtomicBool::new(false);
    thread::scope(|s| {
        let writers: Vec<_> = (0..2u32)
            .map(|cpu| {
                let p = &p;
                s.spawn(move || {
                    let mut rng = Rng(u64::from(cpu));
                    for turn in 0..60_000u32 {
                        let k = rng.below(u64::from(ALL)) as u32;
                        if k >= STAY && rng.below(2) == 0 {
                            let _ = p.map.delete(cpu, &k.to_le_bytes());
                        } else {
                            p.map
                                .update(cpu, &k.to_le_bytes(), &value(k, turn), 0)
                                .unwrap();
                        }
                    }
                })
            })
            .collect();
        for reader in 0..2u64 {
            let (p, done) = (&p, &done);
            s.spawn(move || {
                let mut rng = Rng(reader + 10);
                let mut asked = 0u32;
                let mut reads = 0u32;
                while !done.load(Ordering::Relaxed) {
                    let k = rng.below(u64::from(ALL) + 50) as u32;
                    let mut v = [0; 64];
                    reads += 1;
                    match p.host.lookup(&k.to_le_bytes(), &mut v, 0) {
                        Ok(()) => {
                            assert!(k < ALL, "phantom");
                            assert_whole(k, &v);
                        }
                        Err(ReadError::AskGuest) => asked += 1,
                        Err(_) => assert!(k >= STAY, "lost key {k}"),
                    }
                    let there = p.map.lookup(0, &k.to_le_bytes()).is_some();
                    assert!(there || k >= STAY, "lost key {k}");
                    if reads.is_multiple_of(64) {
                        walk(p);
                    }
                }
                assert!(asked <= reads / 10, "{asked} of {reads} reads gave up");
            });
        }
        for w in writers {
            w.join().unwrap();
        }
        done.store(true, Ordering::Relaxed);
    });
    for k in 0..STAY {
        assert!(p.map.lookup(0, &k.to_le_bytes()).is_some());
    }
}

/// A batch walk meets every key that stays once, and only whole values.
fn walk(p: &Pair) {
    let mut seen = [0; ALL as usize];
    let mut position = Some(0);
    while let Some(at) = position {
        let (mut k, mut v) = ([0; 4 * 40], [0; 64 * 40]);
        let Ok((n, next)) = p.host.batch(at, &mut k, &mut v) else {
            return;
        };
        for i in 0..n as usize {
            let key = u32::from_le_bytes(k[i * 4..][..4].try_into().unwrap());
            assert_whole(key, v[i * 64..][..64].try_into().unwrap());
            seen[key as usize] += 1;
        }
        position = next;
    }
    assert!(seen[..STAY as usize].iter().all(|n| *n == 1));
}

/// Several CPUs fill and empty a small map: never more than its capacity, never
/// an element lost.
#[test]
fn elements_are_neither_lost_nor_doubled() {
    let lru = [MapType::LruHash, MapType::LruPercpuHash];
    for t in [MapType::Hash, MapType::PercpuHash].into_iter().chain(lru) {
        let p = pair(t, 8, 8, 64, 0, 3);
        thread::scope(|s| {
            for cpu in 0..3u32 {
                let p = &p;
                s.spawn(move || {
                    let mut rng = Rng(u64::from(cpu) + 77);
                    for _ in 0..20_000 {
                        let k = rng.below(100).to_le_bytes();
                        if rng.below(3) == 0 {
                            let _ = p.map.delete(cpu, &k);
                        } else {
                            let e = errno_of(p.map.update(cpu, &k, &k, 0));
                            assert!(e == 0 || (e == errno::E2BIG && !lru.contains(&t)), "{e}");
                        }
                    }
                });
            }
        });
        let mut cursor = Cursor::default();
        while let Some(e) = p.map.next(0, &mut cursor) {
            p.map.delete(0, &p.at(e.key, 8)).unwrap();
        }
        for k in 0..64u64 {
            p.map.update(1, &k.to_le_bytes(), &[0; 8], 0).unwrap();
        }
        let mut cursor = Cursor::default();
        assert_eq!(
            core::iter::from_fn(|| p.map.next(0, &mut cursor)).count(),
            64,
            "{t:?}"
        );
    }
}

#[test]
fn garbage_gives_answers_not_harm() {
    for t in [MapType::Hash, MapType::PercpuHash, MapType::LruHash] {
        let p = pair(t, 12, 20, 200, 0, 2);
        let vs = p.map.geometry().user_value_size() as usize;
        let mut rng = Rng(3);
        for i in 0..200u8 {
            p.map.update(0, &[i; 12], &[i; 20], 0).unwrap();
        }
        for round in 0..200 {
            for _ in 0..1 + round * 4 {
                let off = rng.below(p.region.len() / 8) * 8;
                let small = rng.below(2) == 0;
                let garbage = if small {
                    rng.below(64) << 32 | rng.below(64)
                } else {
                    rng.next()
                };
                p.region.store_u64(off, garbage);
            }
            let (mut k, mut v) = ([0; 12], alloc::vec![0; vs]);
            for i in 0..200u8 {
                let _ = p.host.lookup(&[i; 12], &mut v, 0);
                let _ = p.host.next_key(Some(&[i; 12]), &mut k);
            }
            let _ = p.host.next_key(None, &mut k);
            let mut position = Some(0);
            while let Some(at) = position {
                let (mut k, mut v) = ([0; 12 * 600], alloc::vec![0; vs * 600]);
                position = p
                    .host
                    .batch(at, &mut k, &mut v)
                    .map_or(None, |(_, next)| next);
            }
        }
    }
}
