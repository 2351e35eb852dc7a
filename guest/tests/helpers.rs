//! What programs get from the functions that they call.
mod world;
use bpf_core::uapi::{MapType, ProgType, errno};
use bpfvisor_abi::layout::queue_block;
use bpfvisor_abi::ring::block;
use world::World;

const FRAME: [u8; 18] = [2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0, 0x45, 6, 7, 8];

fn negative(errno: i32) -> u64 {
    i64::from(-errno) as u64
}

#[test]
fn clocks_advance_from_their_bases() {
    for w in World::both() {
        let mono = w.r0("call 5\n exit");
        assert!((1_000_000_000..2_000_000_000).contains(&mono), "{mono}");
        let boot = w.r0("call 125\n exit");
        assert!(boot >= mono + 5_000_000_000);
        let jiffies = w.r0("call 118\n exit");
        assert!(jiffies >= (1 << 32) - 75000 + 250);
    }
}

#[test]
fn random_numbers_differ_and_have_32_bits() {
    for w in World::both() {
        let text = "call 7\n r6 = r0\n call 7\n r6 ^= r0\n r0 = r6\n exit";
        let r = w.r0(text);
        assert!(r != 0 && r <= u64::from(u32::MAX));
    }
}

#[test]
fn xdp_adjust_head_has_linux_bounds() {
    for w in World::both_unverified() {
        let run = |delta: i32| {
            let p = w.load(ProgType::Xdp, &format!("r2 = {delta}\n call 44\n exit"));
            w.run(p, &FRAME).unwrap()
        };
        assert_eq!(run(4), (0, FRAME[4..].to_vec()));
        assert_eq!(
            run(5).0,
            negative(errno::EINVAL),
            "an Ethernet header must stay"
        );
        let (r0, out) = run(-216);
        assert_eq!((r0, out.len()), (0, 234));
        assert_eq!(run(-217).0, negative(errno::EINVAL));
    }
}

#[test]
fn xdp_adjust_tail_grows_with_zeros() {
    for w in World::both_unverified() {
        let run = |delta: i32| {
            let p = w.load(ProgType::Xdp, &format!("r2 = {delta}\n call 65\n exit"));
            w.run(p, &FRAME).unwrap()
        };
        assert_eq!(run(3), (0, [&FRAME[..], &[0; 3]].concat()));
        assert_eq!(run(-4), (0, FRAME[..14].to_vec()));
        assert_eq!(run(-5).0, negative(errno::EINVAL));
        assert_eq!(run(321).0, negative(errno::EINVAL));
    }
}

#[test]
fn xdp_metadata_moves_with_the_head() {
    for w in World::both_unverified() {
        let p = w.load(
        ProgType::Xdp,
        "r6 = r1\n r2 = -8\n call 54\n r1 = r6\n r2 = *(u32 *)(r1 +8)\n *(u64 *)(r2 +0) = 0x1234
         r2 = -4\n call 44\n r1 = r6\n call 188\n exit",
    );
        let (r0, out) = w.run(p, &FRAME).unwrap();
        assert_eq!(r0, 22);
        assert_eq!(out.len(), 30);
        assert_eq!(out[..8], [0x34, 0x12, 0, 0, 0, 0, 0, 0]);
        let p = w.load(ProgType::Xdp, "r2 = -6\n call 54\n exit");
        assert_eq!(w.run(p, &FRAME).unwrap().0, negative(errno::EACCES));
    }
}

#[test]
fn xdp_bytes_are_loaded_and_stored() {
    for w in World::both_unverified() {
        let p = w.load(
        ProgType::Xdp,
        "r6 = r1\n r2 = 14\n r3 = r10\n r3 += -8\n r4 = 4\n call 189\n r1 = r6\n r2 = 0\n r3 = r10
         r3 += -8\n r4 = 4\n call 190\n r1 = r6\n r2 = 16\n r4 = 4\n call 189\n exit",
    );
        let (r0, out) = w.run(p, &FRAME).unwrap();
        assert_eq!(r0, negative(errno::EINVAL));
        assert_eq!(out[..4], FRAME[14..]);
    }
}

#[test]
fn checksum_difference_follows_a_changed_word() {
    for w in World::both_unverified() {
        // ~(~old - from + to), over words 0x0a000001 -> 0x0b000002, in memory order.
        let text =
            "*(u32 *)(r10 -8) = 0x0100000a\n *(u32 *)(r10 -4) = 0x0200000b\n r1 = r10\n r1 += -8
                r2 = 4\n r3 = r10\n r3 += -4\n r4 = 4\n r5 = 0\n call 28\n exit";
        // Sum of 16-bit halves: 0x0200 + 0x000b - 0x0100 - 0x000a = 0x0101.
        assert_eq!(w.r0(text), 0x0101);
        let gone = "r1 = r10\n r1 += -8\n *(u64 *)(r10 -8) = 0\n r2 = 4\n r3 = 0\n r4 = 0\n r5 = 0
                call 28\n exit";
        assert_eq!(w.r0(gone), 0);
        let odd = "r1 = r10\n r1 += -8\n *(u64 *)(r10 -8) = 0x030201\n r2 = 0\n r3 = r1
                r4 = 3\n r1 = 0\n r5 = 0\n call 28\n exit";
        assert_eq!(w.r0(odd), 0x0204);
    }
}

#[test]
fn trace_text_reaches_the_ring() {
    for w in World::both_unverified() {
        let fmt = w.put(b"a=%d b=%x c=%llu%%\0");
        let at = w.shared.addr(fmt, 1).unwrap();
        let r0 = w.r0(&format!(
            "r1 = {at} ll\n r2 = 19\n r3 = -5\n r4 = 255\n r5 = 7\n call 6\n exit"
        ));
        assert_eq!(r0, 14);
        let q = queue_block(0);
        let head: u64 = w.read(q + block::TRACE_HEAD);
        assert_eq!(w.get(q + block::TRACE, head as usize), b"a=-5 b=ff c=7%\n");
    }
}

#[test]
fn trace_refuses_formats_as_linux_does() {
    for w in World::both_unverified() {
        for fmt in [
            &b"%d%d%d%d\0"[..],
            b"%n\0",
            b"no zero",
            b"%.3d\0",
            b"\x01\0",
            b"%pZ\0",
        ] {
            let at = w.shared.addr(w.put(fmt), 1).unwrap();
            let r0 = w.r0(&format!(
                "r1 = {at} ll\n r2 = {}\n r3 = 0\n call 6\n exit",
                fmt.len()
            ));
            assert_eq!(r0, negative(errno::EINVAL), "{fmt:?}");
        }
    }
}

#[test]
fn snprintf_formats_and_tells_the_whole_length() {
    for w in World::both_unverified() {
        let text = w.put(b"hello\0");
        let text = w.shared.addr(text, 1).unwrap();
        let cases: [(&str, &[u64], &str); 7] = [
            (
                "%5d|%-5d|%05d",
                &[42, 42, -42i64 as u64],
                "   42|42   |-0042",
            ),
            ("%s %c", &[text, 65], "hello A"),
            ("%s", &[8], ""),
            ("%lx %X", &[u64::MAX, 0xabc], "ffffffffffffffff ABC"),
            (
                "%pi4 %pI4",
                &[text, text],
                "104.101.108.108 104.101.108.108",
            ),
            ("%px", &[0x1234], "0000000000001234"),
            ("%+d % u", &[3, 4], "+3 4"),
        ];
        for (fmt, values, want) in cases {
            let f = w
                .shared
                .addr(w.put(&[fmt.as_bytes(), &[0]].concat()), 1)
                .unwrap();
            let v: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
            let (v, len) = (w.shared.addr(w.put(&v), 1).unwrap(), v.len());
            let out = w.put(&[0xee; 64]);
            let o = w.shared.addr(out, 1).unwrap();
            let r0 = w.r0(&format!(
                "r1 = {o} ll\n r2 = 64\n r3 = {f} ll\n r4 = {v} ll\n r5 = {len}\n call 165\n exit"
            ));
            assert_eq!(r0, want.len() as u64 + 1, "{fmt}");
            assert_eq!(
                w.get(out, want.len() + 1),
                [want.as_bytes(), &[0]].concat(),
                "{fmt}"
            );
        }
    }
}

#[test]
fn numbers_are_read_as_linux_does() {
    for w in World::both_unverified() {
        type Case = (&'static str, u32, u64, Result<(u64, i64), i32>);
        let cases: [Case; 9] = [
            ("  -42x", 10, 105, Ok((5, -42))),
            ("0x1f", 0, 105, Ok((4, 31))),
            ("017", 0, 105, Ok((3, 15))),
            ("0", 0, 105, Ok((1, 0))),
            ("-1", 10, 106, Err(errno::EINVAL)),
            ("18446744073709551615", 10, 106, Ok((20, -1))),
            ("18446744073709551616", 10, 106, Err(errno::ERANGE)),
            ("9223372036854775808", 10, 105, Err(errno::ERANGE)),
            ("abc", 7, 105, Err(errno::EINVAL)),
        ];
        for (text, base, helper, want) in cases {
            let t = w.shared.addr(w.put(text.as_bytes()), 1).unwrap();
            let out = w.alloc(8);
            let o = w.shared.addr(out, 8).unwrap();
            let r0 = w.r0(&format!(
                "r1 = {t} ll\n r2 = {}\n r3 = {base}\n r4 = {o} ll\n call {helper}\n exit",
                text.len()
            ));
            match want {
                Ok((n, v)) => assert_eq!((r0, w.read::<i64>(out)), (n, v), "{text}"),
                Err(e) => assert_eq!(r0, negative(e), "{text}"),
            }
        }
    }
}

#[test]
fn strings_are_compared_up_to_their_end() {
    for w in World::both_unverified() {
        for (a, b, want) in [
            ("abc\0", "abc\0", 0i64),
            ("abd\0", "abc\0", 1),
            ("ab\0", "abc\0", -1),
        ] {
            let at = |s: &str| w.shared.addr(w.put(s.as_bytes()), 1).unwrap();
            let (x, y) = (at(a), at(b));
            let text = format!(
                "r1 = {x} ll\n r2 = {}\n r3 = {y} ll\n call 182\n exit",
                a.len()
            );
            assert_eq!(w.r0(&text) as i64, want, "{a} {b}");
        }
    }
}

#[test]
fn loops_call_back_until_told_to_stop() {
    for w in World::both_unverified() {
        let text = |n: u64| {
            format!(
            "*(u64 *)(r10 -8) = 0\n r1 = {n}\n r2 = subprog[callback]\n r3 = r10\n r3 += -8\n r4 = 0
             call 181\n r1 = *(u64 *)(r10 -8)\n r0 <<= 32\n r0 |= r1\n exit
             callback:
             r3 = *(u64 *)(r2 +0)\n r3 += r1\n *(u64 *)(r2 +0) = r3\n r0 = 0\n if r1 != 5 goto +1
             r0 = 1\n exit"
        )
        };
        assert_eq!(w.r0(&text(4)), 4 << 32 | 6);
        assert_eq!(w.r0(&text(100)), 6 << 32 | 15);
        assert_eq!(
            w.r0(&text(9_000_000)) as i64,
            (i64::from(-errno::E2BIG)) << 32
        );
    }
}

/// A frame whose EtherType asks for no IP header.
fn arp() -> Vec<u8> {
    [&FRAME[..12], &[8, 6], &FRAME[14..]].concat()
}

#[test]
fn skb_bytes_heads_and_checksums() {
    for w in World::both_unverified() {
        let run = |text: &str| {
            let p = w.load(ProgType::SchedCls, text);
            w.run(p, &arp()).unwrap()
        };
        // load 4 bytes at 14, store them at 0
        let (r0, out) = run(
            "r6 = r1\n r2 = 14\n r3 = r10\n r3 += -8\n r4 = 4\n call 26\n r1 = r6
        r2 = 0\n r3 = r10\n r3 += -8\n r4 = 4\n r5 = 0\n call 9\n exit",
        );
        assert_eq!((r0, &out[..4]), (0, &FRAME[14..]));
        assert_eq!(
            run("r2 = 16\n r3 = r10\n r3 += -8\n r4 = 4\n call 26\n exit").0,
            negative(errno::EFAULT)
        );
        assert_eq!(run("r2 = 20\n r3 = 0\n call 38\n exit").1.len(), 20);
        assert_eq!(
            run("r2 = 13\n r3 = 0\n call 38\n exit").0,
            negative(errno::EINVAL)
        );
        let (r0, out) = run("r2 = 14\n r3 = 0\n call 43\n exit");
        assert_eq!((r0, out), (0, [&[0; 14][..], &arp()].concat()));
        let (r0, out) = run("r2 = 16\n r3 = 0x0807\n r4 = 0x0907\n r5 = 2\n call 10\n exit");
        assert_eq!((r0, &out[16..]), (0, &[7, 7][..]));
    }
}

#[test]
fn vlan_tags_are_beside_the_packet_first() {
    for w in World::both_unverified() {
        let p = w.load(
            ProgType::SchedCls,
            "r6 = r1\n r2 = 129\n r3 = 5\n call 18\n r1 = r6\n r2 = 129\n r3 = 6\n call 18
         r0 = *(u32 *)(r6 +24)\n exit",
        );
        let (r0, out) = w.run(p, &arp()).unwrap();
        assert_eq!(r0, 6);
        assert_eq!(out, [&arp()[..12], &[0x81, 0, 0, 5], &arp()[12..]].concat());
        let tagged = [&arp()[..12], &[0x81, 0, 0, 5], &arp()[12..]].concat();
        let p = w.load(ProgType::SchedCls, "call 19\n exit");
        assert_eq!(w.run(p, &tagged).unwrap(), (0, arp()));
    }
}

#[test]
fn redirect_is_a_verdict() {
    for w in World::both_unverified() {
        let p = w.load(ProgType::Xdp, "r1 = 3\n r2 = 0\n call 23\n exit");
        assert_eq!(w.run(p, &arp()).unwrap().0, 4);
        let p = w.load(ProgType::SchedCls, "r1 = 3\n r2 = 0\n call 23\n exit");
        assert_eq!(w.run(p, &arp()).unwrap().0, 7);
    }
}

#[test]
fn queues_are_pushed_and_popped() {
    for w in World::both() {
        let q = w.map(MapType::Queue, 0, 4, 4);
        let p = w.load(
            ProgType::Xdp,
            &format!(
                "*(u32 *)(r10 -4) = 9\n r1 = map[id:{q}]\n r2 = r10\n r2 += -4\n r3 = 0\n call 87
             r1 = map[id:{q}]\n r2 = r10\n r2 += -8\n call 88\n r0 = *(u32 *)(r10 -8)\n exit"
            ),
        );
        assert_eq!(w.run(p, &FRAME).unwrap().0, 9);
    }
}
