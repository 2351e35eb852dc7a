//! Ring buffers: Linux's rules, and a producer against the consumer.

use super::*;
use crate::uapi::errno;
use std::thread;

extern crate std;

const SIZE: u32 = 4096;

fn ring() -> Pair {
    pair(MapType::Ringbuf, 0, 0, SIZE, 0, 2)
}

#[test]
fn records_come_in_order_of_reservation() {
    let p = ring();
    let mut c = p.host.consumer().unwrap();
    let mut out = Vec::new();
    assert_eq!(c.next(&mut out), Ok(false));
    c.set_asleep(true);
    let a = p.map.reserve(5).unwrap();
    let b = p.map.reserve(16).unwrap();
    assert_eq!(p.map.query(ring_flags::AVAIL_DATA), 40);
    assert_eq!(p.map.query(ring_flags::RING_SIZE), u64::from(SIZE));
    p.poke(a, b"first");
    p.poke(b, &[7; 16]);
    assert_eq!(
        p.map.commit(b, 0, false),
        Ok(false),
        "the consumer waits for a"
    );
    assert_eq!(c.next(&mut out), Ok(false), "a is busy");
    assert_eq!(
        p.map.commit(a, 0, false),
        Ok(true),
        "the consumer waits for this"
    );
    assert_eq!(c.next(&mut out), Ok(true));
    assert_eq!(out, b"first");
    assert_eq!(c.next(&mut out), Ok(true));
    assert_eq!(out, [7; 16]);
    let a = p.map.reserve(8).unwrap();
    assert_eq!(p.map.commit(a, ring_flags::NO_WAKEUP, true), Ok(false));
    assert_eq!(c.next(&mut out), Ok(false), "discarded records are skipped");
    assert_eq!(p.map.query(ring_flags::CONS_POS), 56);
    assert_eq!(p.map.output(b"x", ring_flags::NO_WAKEUP), Ok(false));
    assert_eq!(
        p.map.output(b"y", ring_flags::FORCE_WAKEUP),
        Ok(false),
        "it is awake already"
    );
    c.set_asleep(true);
    assert_eq!(p.map.output(b"y", 0), Ok(false), "x is what it waits for");
    assert_eq!(p.map.output(b"y", ring_flags::FORCE_WAKEUP), Ok(true));
    assert_eq!(errno_of(p.map.output(b"y", 4)), errno::EINVAL);
    assert_eq!(errno_of(p.map.commit(a, 0, false)), errno::EINVAL);
    assert_eq!(errno_of(p.map.commit(3, 0, false)), errno::EINVAL);
}

#[test]
fn the_ring_is_full_when_linux_says_so() {
    let p = ring();
    assert_eq!(p.map.reserve(u64::from(SIZE)), None);
    assert_eq!(
        p.map.reserve(u64::from(SIZE) - 8),
        None,
        "one word always stays free"
    );
    let a = p.map.reserve(u64::from(SIZE) - 16).unwrap();
    assert_eq!(p.map.reserve(0), None);
    assert_eq!(errno_of(p.map.output(&[], 0)), errno::EAGAIN);
    assert_eq!(p.host.consumer().unwrap().lost(), 4);
    p.map.commit(a, 0, true).unwrap();
    assert_eq!(p.map.reserve(0), None, "nothing was consumed yet");
    let mut c = p.host.consumer().unwrap();
    assert_eq!(c.next(&mut Vec::new()), Ok(false));
    assert!(
        p.map.reserve(u64::from(SIZE) - 16).is_some(),
        "large records may wrap"
    );
    assert_eq!(errno_of(p.map.sys_lookup(&[], &mut [], 0)), errno::ENOTSUPP);
    assert_eq!(errno_of(p.map.sys_lookup(&[], &mut [], 1)), errno::EINVAL);
}

/// A consumer that sleeps whenever there is nothing is woken for every record.
#[test]
fn no_wake_up_is_lost() {
    use std::sync::mpsc::channel;
    use std::time::Duration;
    let p = ring();
    let mut c = p.host.consumer().unwrap();
    let (bell, rung) = channel();
    let total = 20_000 / SLOWER;
    thread::scope(|s| {
        let p = &p;
        s.spawn(move || {
            for i in 0..total {
                loop {
                    match p.map.output(&i.to_le_bytes(), 0) {
                        Ok(true) => bell.send(()).unwrap(),
                        Ok(false) => {}
                        Err(_) => {
                            thread::yield_now();
                            continue;
                        }
                    }
                    break;
                }
            }
        });
        let mut out = Vec::new();
        for i in 0..total {
            while !c.next(&mut out).unwrap() {
                c.set_asleep(true);
                if c.next(&mut out).unwrap() {
                    c.set_asleep(false);
                    break;
                }
                rung.recv_timeout(Duration::from_secs(10))
                    .expect("a wake-up");
            }
            assert_eq!(out, i.to_le_bytes());
        }
    });
}

#[test]
fn a_producer_and_the_consumer_agree() {
    let p = ring();
    let mut c = p.host.consumer().unwrap();
    let total = 40_000 / SLOWER;
    thread::scope(|s| {
        for cpu in 0..2u32 {
            let p = &p;
            s.spawn(move || {
                let mut rng = Rng(u64::from(cpu));
                for i in 0..total {
                    let len = 8 + rng.below(100) as usize;
                    let mut data = [i as u8; 108];
                    data[..4].copy_from_slice(&cpu.to_le_bytes());
                    data[4..8].copy_from_slice(&i.to_le_bytes());
                    while p.map.output(&data[..len], 0).is_err() {
                        thread::yield_now();
                    }
                }
            });
        }
        let mut next = [0u32; 2];
        let mut out = Vec::new();
        while next != [total; 2] {
            if !c.next(&mut out).unwrap() {
                thread::yield_now();
                continue;
            }
            let cpu = u32::from_le_bytes(out[..4].try_into().unwrap()) as usize;
            let i = u32::from_le_bytes(out[4..8].try_into().unwrap());
            assert_eq!(i, next[cpu], "lost or doubled");
            assert!(out[8..].iter().all(|b| *b == i as u8), "torn");
            next[cpu] += 1;
        }
    });
}

#[test]
fn garbage_gives_answers_not_harm() {
    let p = ring();
    let mut c = p.host.consumer().unwrap();
    let mut rng = Rng(4);
    let mut out = Vec::new();
    for _ in 0..2000 {
        let _ = p.map.output(&[1; 40], 0);
        let small = rng.below(3);
        let garbage = [rng.next(), rng.below(9000), rng.below(64) * 8][small as usize];
        let off = match rng.below(4) {
            0 => 4096,
            1 => 4104,
            _ => 8192 + rng.below(u64::from(SIZE) / 8) * 8,
        };
        p.region.store_u64(off, garbage);
        for _ in 0..20 {
            if c.next(&mut out) != Ok(true) {
                break;
            }
            assert!(out.len() <= SIZE as usize);
        }
    }
}
