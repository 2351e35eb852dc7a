//! Arrays.

use super::*;
use crate::uapi::{elem_flags as f, errno, map_flags};

#[test]
fn arrays_answer_as_linux() {
    let p = pair(MapType::Array, 4, 12, 3, 0, 2);
    let key = |i: u32| i.to_le_bytes();
    assert_eq!(p.at(p.map.lookup(0, &key(2)).unwrap(), 12), [0; 12]);
    assert_eq!(p.map.lookup(0, &key(3)), None);
    p.map.update(1, &key(1), &[5; 12], f::EXIST).unwrap();
    assert_eq!(p.map.lookup(0, &key(1)).unwrap(), p.map.values_addr() + 16);
    assert_eq!(p.map.value_stride(), 16);
    let mut out = [0; 12];
    p.host.lookup(&key(1), &mut out, 0).unwrap();
    assert_eq!(out, [5; 12]);
    assert_eq!(
        errno_of(p.map.update(0, &key(3), &[0; 12], 0)),
        errno::E2BIG
    );
    assert_eq!(
        errno_of(p.map.update(0, &key(0), &[0; 12], f::NOEXIST)),
        errno::EEXIST
    );
    assert_eq!(
        errno_of(p.map.update(0, &key(0), &[0; 12], 3)),
        errno::EINVAL
    );
    assert_eq!(
        errno_of(p.map.update(0, &key(0), &[0; 12], f::F_LOCK)),
        errno::EINVAL
    );
    assert_eq!(
        errno_of(p.map.update(0, &key(0), &[0; 13], 0)),
        errno::EINVAL
    );
    assert_eq!(errno_of(p.map.delete(0, &key(0))), errno::EINVAL);
    assert_eq!(
        p.host.lookup(&key(3), &mut out, 0),
        Err(MapError::NO_KEY.into())
    );
    let mut next = [0; 4];
    for (from, to) in [
        (None, Some(0)),
        (Some(0), Some(1)),
        (Some(2), None),
        (Some(9), Some(0)),
    ] {
        let got = p
            .host
            .next_key(from.map(key).as_ref().map(|k| &k[..]), &mut next);
        assert_eq!(
            got.ok().map(|()| u32::from_le_bytes(next)),
            to,
            "after {from:?}"
        );
    }
    let (mut k, mut v) = ([0; 8], [0; 24]);
    assert_eq!(p.host.batch(0, &mut k, &mut v), Ok((2, Some(2))));
    assert_eq!(p.host.batch(2, &mut k, &mut v), Ok((1, None)));
    let mut cursor = Cursor::default();
    assert_eq!(
        core::iter::from_fn(|| p.map.next(0, &mut cursor)).count(),
        3
    );
}

#[test]
fn per_cpu_arrays_are_apart() {
    let p = pair(MapType::PercpuArray, 4, 4, 5, 0, 3);
    let k = 4u32.to_le_bytes();
    p.map.update(2, &k, &[9; 4], 0).unwrap();
    let mut all = [1; 24];
    p.host.lookup(&k, &mut all, 0).unwrap();
    assert_eq!(all[..16], [0; 16]);
    assert_eq!(all[16..20], [9; 4]);
    p.map.sys_update(0, &k, &[3; 24], 0).unwrap();
    assert_eq!(p.at(p.map.lookup(1, &k).unwrap(), 4), [3; 4]);
    assert_eq!(p.map.lookup(3, &k), None, "no such CPU");
    assert_eq!(p.map.values_addr(), 0);
}

#[test]
fn slots_are_empty_until_filled() {
    let p = pair(MapType::ProgArray, 4, 4, 4, 0, 1);
    let k = 2u32.to_le_bytes();
    assert_eq!(p.map.lookup_handle(&k), None);
    assert_eq!(errno_of(p.map.delete(0, &k)), errno::ENOENT);
    p.map.sys_update(0, &k, &77u32.to_le_bytes(), 0).unwrap();
    assert_eq!(
        errno_of(p.map.sys_update(0, &k, &[1; 4], f::EXIST)),
        errno::EINVAL
    );
    assert_eq!(p.map.lookup_handle(&k), Some(77));
    let (mut keys, mut vals) = ([0; 16], [0; 16]);
    assert_eq!(p.host.batch(0, &mut keys, &mut vals), Ok((1, None)));
    p.map.delete(0, &k).unwrap();
    assert_eq!(
        p.host.lookup(&k, &mut [0; 4], 0),
        Err(MapError::NO_KEY.into())
    );
    assert_eq!(errno_of(p.map.delete(0, &9u32.to_le_bytes())), errno::E2BIG);
}

#[test]
fn mappable_arrays_are_whole_pages_from_the_start() {
    let p = pair(MapType::Array, 4, 8, 3, map_flags::MMAPABLE, 1);
    assert_eq!(p.map.values_addr(), p.region.addr(0));
    assert_eq!(p.region.len() % PAGE, 0);
}
