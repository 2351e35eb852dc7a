//! The trie against a list of prefixes.

use super::*;
use crate::uapi::{elem_flags as f, errno, map_flags};
use alloc::collections::BTreeMap;
use alloc::vec;
use std::thread;

extern crate std;

/// Prefix length and masked bits name a prefix; the value is the raw key, as it
/// comes back, and the value.
type Model = BTreeMap<(u32, Vec<u8>), (Vec<u8>, Vec<u8>)>;

fn trie(data: u32, value: u32, max: u32) -> Pair {
    pair(
        MapType::LpmTrie,
        4 + data,
        value,
        max,
        map_flags::NO_PREALLOC,
        1,
    )
}

fn key(length: u32, data: &[u8]) -> Vec<u8> {
    [&length.to_le_bytes()[..], data].concat()
}

fn masked(length: u32, data: &[u8]) -> Vec<u8> {
    let keep = |i: usize| match length as usize {
        n if n >= i * 8 + 8 => 0xff,
        n if n <= i * 8 => 0,
        n => !(0xffu8 >> (n - i * 8)),
    };
    data.iter().enumerate().map(|(i, b)| b & keep(i)).collect()
}

fn longest(m: &Model, length: u32, data: &[u8]) -> Option<Vec<u8>> {
    (0..=length)
        .rev()
        .find_map(|l| m.get(&(l, masked(l, data))))
        .map(|(_, v)| v.clone())
}

fn keys(p: &Pair) -> Vec<Vec<u8>> {
    let mut all: Vec<Vec<u8>> = Vec::new();
    let mut k = vec![0; p.map.geometry().key_size as usize];
    while p.host.next_key(all.last().map(|k| &k[..]), &mut k).is_ok() {
        all.push(k.clone());
        assert!(all.len() < 10_000);
    }
    let mut g = k.clone();
    assert_eq!(
        p.map.sys_next_key(all.last().map(|k| &k[..]), &mut g),
        Err(MapError::NO_KEY)
    );
    all
}

fn run(data: usize, max: u32, ops: u32, seed: u64) {
    let p = trie(data as u32, 8, max);
    let bits = data as u32 * 8;
    let mut m = Model::new();
    let mut rng = Rng(seed);
    for i in 0..ops / SLOWER {
        let length = rng.below(u64::from(bits) + 1) as u32;
        let bytes: Vec<u8> = (0..data)
            .map(|_| [0, 1, 0x80, 0xff][rng.below(4) as usize])
            .collect();
        let name = (length, masked(length, &bytes));
        let k = key(length, &bytes);
        match rng.below(5) {
            0..2 => {
                let v = rng.next().to_le_bytes();
                let flags = rng.below(4);
                let want = match (flags, m.contains_key(&name)) {
                    (3, _) => errno::EINVAL,
                    (f::NOEXIST, true) => errno::EEXIST,
                    (f::EXIST, false) => errno::ENOENT,
                    (_, false) if m.len() == max as usize => errno::ENOSPC,
                    _ => {
                        m.insert(name, (k.clone(), v.to_vec()));
                        0
                    }
                };
                assert_eq!(errno_of(p.map.update(0, &k, &v, flags)), want, "op {i}");
            }
            2 => {
                let want = if m.remove(&name).is_some() {
                    0
                } else {
                    errno::ENOENT
                };
                assert_eq!(errno_of(p.map.delete(0, &k)), want, "op {i}");
            }
            _ => {
                let want = longest(&m, length, &bytes);
                assert_eq!(p.map.lookup(0, &k).map(|a| p.at(a, 8)), want, "op {i}");
                let mut out = vec![0; 8];
                assert_eq!(p.host.lookup(&k, &mut out, 0).ok().map(|()| out), want);
            }
        }
        if i % (ops / 10) == 0 {
            let mut got = keys(&p);
            let mut want: Vec<_> = m.values().map(|(k, _)| k.clone()).collect();
            got.sort();
            want.sort();
            assert_eq!(got, want, "op {i}");
        }
    }
    // Everything can go, and the full capacity come back, again and again.
    for round in 0..3u32 {
        for k in keys(&p) {
            p.map.delete(0, &k).unwrap();
        }
        assert_eq!(keys(&p).len(), 0);
        let wide = data >= 4;
        for i in 0..if wide { max } else { 0 } {
            let bytes = [&(i * 77 + round).to_be_bytes()[..], &vec![0; data - 4]].concat();
            p.map
                .update(0, &key(32, &bytes), &[0; 8], f::NOEXIST)
                .unwrap();
        }
    }
}

#[test]
fn trie_behaves_as_its_model() {
    run(1, 40, 4000, 1);
    run(4, 5, 2000, 2);
    run(4, 100, 10_000, 3);
    run(16, 60, 5000, 4);
    run(13, 60, 3000, 5);
    run(256, 20, 500, 6);
}

#[test]
fn wrong_keys_are_refused() {
    let p = trie(4, 8, 4);
    assert_eq!(
        errno_of(p.map.update(0, &key(33, &[0; 4]), &[0; 8], 0)),
        errno::EINVAL
    );
    assert_eq!(errno_of(p.map.delete(0, &key(33, &[0; 4]))), errno::EINVAL);
    assert_eq!(p.map.lookup(0, &key(33, &[0; 4])), None);
    assert_eq!(
        p.map.update(0, &[0; 7], &[0; 8], 0),
        Err(MapError::KEY_SIZE)
    );
    assert_eq!(
        p.map.update(0, &key(8, &[0; 4]), &[0; 9], 0),
        Err(MapError::VALUE_SIZE)
    );
    assert_eq!(
        p.host.next_key(None, &mut [0; 8]),
        Err(MapError::NO_KEY.into())
    );
}

#[test]
fn readers_find_the_covering_prefix_while_others_come_and_go() {
    let p = trie(4, 64, 300);
    let whole = |v: &[u8]| v.iter().all(|b| *b == v[0]);
    p.map
        .update(0, &key(8, &[10, 0, 0, 0]), &[1; 64], 0)
        .unwrap();
    thread::scope(|s| {
        let writer = s.spawn(|| {
            let mut rng = Rng(1);
            for i in 0..30_000u32 {
                let k = key(
                    16 + rng.below(17) as u32,
                    &[10, rng.below(4) as u8, rng.next() as u8, 0],
                );
                if rng.below(2) == 0 {
                    let _ = p.map.delete(0, &k);
                } else {
                    let _ = p.map.update(0, &k, &[i as u8; 64], 0);
                }
                if i % 16 == 0 {
                    p.map
                        .update(0, &key(8, &[10, 0, 0, 0]), &[i as u8; 64], 0)
                        .unwrap();
                }
            }
        });
        let mut rng = Rng(2);
        let (mut asked, mut reads) = (0, 0);
        while !writer.is_finished() {
            let k = key(32, &[10, rng.below(4) as u8, rng.next() as u8, 0]);
            let mut v = [0; 64];
            reads += 1;
            match p.host.lookup(&k, &mut v, 0) {
                Ok(()) => assert!(whole(&v), "torn"),
                Err(ReadError::AskGuest) => asked += 1,
                Err(e) => panic!("lost the covering prefix: {e}"),
            }
            assert!(p.map.lookup(0, &k).is_some());
        }
        assert!(asked <= reads / 10);
    });
}

#[test]
fn garbage_gives_answers_not_harm() {
    let p = trie(16, 8, 100);
    let mut rng = Rng(9);
    for i in 0..100u8 {
        let _ = p.map.update(0, &key(u32::from(i), &[i; 16]), &[i; 8], 0);
    }
    for _ in 0..300 {
        for _ in 0..20 {
            let off = rng.below(p.region.len() / 4) * 4;
            p.region.store_u32(
                off,
                if rng.below(2) == 0 {
                    rng.below(300)
                } else {
                    rng.next()
                } as u32,
            );
        }
        let mut k = [0; 20];
        for i in 0..100u8 {
            let _ = p.host.lookup(&key(128, &[i; 16]), &mut [0; 8], 0);
            let _ = p.host.next_key(Some(&key(u32::from(i), &[i; 16])), &mut k);
        }
        let _ = p.host.next_key(None, &mut k);
    }
}
