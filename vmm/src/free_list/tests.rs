#![allow(clippy::unwrap_used)]

use super::*;

const LOW: End = End::Bottom { limit: 1000 };

#[test]
fn both_ends_meet() {
    let mut list = FreeList::new(0..2000);
    assert_eq!(list.take(100, 1, LOW), Some(0));
    assert_eq!(list.take(100, 1, End::Top), Some(1900));
    assert_eq!(list.take(901, 1, LOW), None, "past the limit");
    assert_eq!(list.take(900, 1, LOW), Some(100));
    assert_eq!(list.take(901, 1, End::Top), None, "past what is free");
    assert_eq!(list.take(900, 1, End::Top), Some(1000));
    assert_eq!((list.take(1, 1, End::Top), list.used()), (None, 2000));
}

#[test]
fn alignment_is_kept_and_senseless_requests_refused() {
    let mut list = FreeList::new(10..2000);
    assert_eq!(list.take(1, 64, LOW), Some(64));
    assert_eq!(list.take(1, 64, End::Top), Some(1984));
    assert_eq!(list.take(0, 1, End::Top), None);
    assert_eq!(list.take(1, 3, End::Top), None);
    assert_eq!(list.take(u64::MAX, 1, LOW), None);
    assert_eq!(list.take(1, 1 << 63, LOW), None);
}

#[test]
fn random_use_never_overlaps_and_ends_whole() {
    let mut list = FreeList::new(64..65536);
    let mut taken: Vec<Range<u64>> = Vec::new();
    let mut random = 1u64;
    let mut next = |below: u64| {
        random = random
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        (random >> 33) % below
    };
    for _ in 0..5000 {
        if next(3) == 0 && !taken.is_empty() {
            let at = next(taken.len() as u64) as usize;
            list.give(taken.swap_remove(at));
            continue;
        }
        let (len, align) = (next(900) + 1, 1 << next(8));
        let end = if next(2) == 0 {
            End::Top
        } else {
            End::Bottom { limit: 40_000 }
        };
        let Some(at) = list.take(len, align, end) else {
            continue;
        };
        let range = at..at + len;
        assert!(at % align == 0 && at >= 64 && range.end <= 65536);
        assert!(
            taken
                .iter()
                .all(|t| t.end <= range.start || range.end <= t.start)
        );
        taken.push(range);
        assert_eq!(
            list.used(),
            taken.iter().map(|t| t.end - t.start).sum::<u64>()
        );
    }
    taken.drain(..).for_each(|range| list.give(range));
    assert_eq!(list.take(65536 - 64, 1, End::Top), Some(64));
}
