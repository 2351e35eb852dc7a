//! What runs are refused, and what the context structures hold.

use crate::duel::{Duel, Loaded, Outcome};
use crate::packets::{BEGIN, IN, TYPES, frame, store_fields, udp, vlan, words};
use bpf_core::uapi::{ProgType, errno, sk_buff as f, xdp_md};

const KINDS: [ProgType; 4] = [
    ProgType::Xdp,
    ProgType::SocketFilter,
    ProgType::SchedCls,
    ProgType::SchedAct,
];

/// Readable fields of an `__sk_buff` (offset, size) that need no secrets.
pub const FIELDS: [(u32, u32); 23] = [
    (f::LEN, 4),
    (f::PKT_TYPE, 4),
    (f::MARK, 4),
    (f::QUEUE_MAPPING, 4),
    (f::PROTOCOL, 4),
    (f::VLAN_PRESENT, 4),
    (f::VLAN_TCI, 4),
    (f::VLAN_PROTO, 4),
    (f::PRIORITY, 4),
    (f::INGRESS_IFINDEX, 4),
    (f::IFINDEX, 4),
    (f::TC_INDEX, 4),
    (f::CB, 4),
    (f::CB + 4, 4),
    (f::CB + 8, 4),
    (f::CB + 12, 4),
    (f::CB + 16, 4),
    (f::HASH, 4),
    (f::NAPI_ID, 4),
    (f::GSO_SEGS, 4),
    (f::GSO_SIZE, 4),
    (f::LEN, 1),
    (f::PROTOCOL, 2),
];
/// Those that only programs at the link layer see.
const LINK_FIELDS: [(u32, u32); 5] = [
    (f::TC_CLASSID, 4),
    (f::TSTAMP, 8),
    (f::WIRE_LEN, 4),
    (f::HWTSTAMP, 8),
    (f::TSTAMP_TYPE, 1),
];

/// A program that stores all it can read of its context and returns `ret`.
fn reader(duel: &Duel, kind: ProgType, ret: i32) -> Loaded<'_> {
    let mut text = BEGIN.to_string();
    match kind {
        ProgType::Xdp => text += &store_fields(&[(12, 4), (16, 4)], 0),
        _ => text += &store_fields(&FIELDS, 0),
    }
    if kind != ProgType::SocketFilter {
        let (data, end, meta) = match kind {
            ProgType::Xdp => (0, 4, 8),
            _ => (f::DATA, f::DATA_END, f::DATA_META),
        };
        text += &format!(
            "r1 = *(u32 *)(r6 +{data})\nr2 = *(u32 *)(r6 +{end})\nr3 = *(u32 *)(r6 +{meta})\n\
             r2 -= r1\nr1 -= r3\n*(u64 *)(r9 +512) = r2\n*(u64 *)(r9 +520) = r1\n"
        );
        if kind != ProgType::Xdp {
            text += &store_fields(&LINK_FIELDS, 528);
        }
    }
    text += &format!("r0 = {ret}\nexit\n");
    duel.load(&format!("{kind:?} reader"), kind, &[IN], &text)
}

#[test]
fn every_length_and_ethertype() {
    let duel = Duel::new();
    let long = [1500, 1514, 3500, 3519, 3520];
    for kind in KINDS {
        let program = reader(&duel, kind, -1);
        for ethertype in TYPES {
            for len in (0..=100).chain(long) {
                let data = if len < 14 {
                    vec![0; len]
                } else {
                    frame(ethertype, len)
                };
                program.run(&format!("{ethertype:#x}, {len} bytes"), &data, &[]);
            }
        }
        for to in [[0u8; 6], [0xff; 6], [1, 0, 0, 0, 0, 0], [2, 0, 0, 0, 0, 1]] {
            let mut data = udp(4, 60);
            data[..6].copy_from_slice(&to);
            program.run(&format!("to {to:?}"), &data, &[]);
        }
        for (what, data) in [("v6", udp(6, 80)), ("vlan", vlan(80))] {
            program.run(what, &data, &[]);
        }
        let mut raw = frame(30, 80);
        raw[14..16].fill(0xff);
        program.run("raw 802.3", &raw, &[]);
    }
    duel.finish(5000);
}

/// docs/differences.md: packets of any length are in one piece.
#[test]
fn long_packets_are_linear() {
    let duel = Duel::new();
    for kind in KINDS {
        let program = reader(&duel, kind, -1);
        for len in [3713, 4000, 9000, 16000] {
            let data = frame(0x0806, len);
            let sides = program.each(&data, &[]);
            let there = match kind {
                // The kernel puts what is beyond one page into fragments.
                ProgType::Xdp => Outcome::seen(&sides[0], 512),
                _ => {
                    assert!(matches!(sides[0], Outcome::Refused(errno::EINVAL)));
                    None
                }
            };
            assert_eq!(
                there,
                (kind == ProgType::Xdp).then_some(3520),
                "{kind:?}, {len}"
            );
            for ours in &sides[1..] {
                let seen = if kind == ProgType::SocketFilter {
                    0
                } else {
                    512
                };
                let taken = if kind == ProgType::SocketFilter {
                    14
                } else {
                    0
                };
                assert_eq!(
                    Outcome::seen(ours, seen),
                    Some(len as u64 - taken),
                    "{kind:?}"
                );
            }
        }
    }
}

/// docs/differences.md: the interfaces that a caller names need not exist.
#[test]
fn any_interface_may_be_named() {
    let duel = Duel::new();
    let xdp = reader(&duel, ProgType::Xdp, 2);
    let skb = reader(&duel, ProgType::SchedCls, 0);
    for (program, ctx, at) in [
        (xdp, with(24, &[(4, 100), (12, 9999), (16, 3)]), 0),
        (skb, with(192, &[(f::IFINDEX, 9999)]), 80),
    ] {
        let sides = program.each(&udp(4, 100), &ctx);
        assert!(matches!(sides[0], Outcome::Refused(errno::ENODEV)));
        for ours in &sides[1..] {
            assert_eq!(Outcome::seen(ours, at), Some(9999));
        }
    }
}

/// docs/differences.md: `data_end` of a context given says where the kernel ends
/// the linear part; here that is always the whole packet.
#[test]
fn a_shorter_linear_part_is_not_made() {
    let duel = Duel::new();
    let program = reader(&duel, ProgType::Xdp, 2);
    let sides = program.each(&udp(4, 100), &with(24, &[(4, 60)]));
    let lengths: Vec<_> = sides.iter().map(|s| Outcome::seen(s, 512)).collect();
    assert_eq!(lengths, [Some(60), Some(100), Some(100)]);
}

pub fn with(size: usize, fields: &[(u32, u32)]) -> Vec<u8> {
    let mut ctx = vec![0; size];
    for (off, value) in fields {
        ctx[*off as usize..*off as usize + 4].copy_from_slice(&value.to_ne_bytes());
    }
    ctx
}

#[test]
fn xdp_contexts_given() {
    let duel = Duel::new();
    let program = reader(&duel, ProgType::Xdp, 2);
    let data = udp(4, 100);
    for meta in [0, 1, 4, 32, 85, 86, 84, 100, 104, 252, 256] {
        for end in [0, 99, 100, 101] {
            for (ifindex, queue) in [(0, 0), (0, 1), (1, 0), (1, 1), (1, 100)] {
                let fields = [(0, meta), (4, end), (12, ifindex), (16, queue)];
                let shorter = |out: &mut Outcome| {
                    if end < 100 {
                        out.forget(512, 8);
                        out.forget_ctx(4, 4);
                    }
                };
                program.run_as(&format!("{fields:?}"), &data, &with(24, &fields), shorter);
            }
        }
    }
    let long = udp(4, 600);
    for meta in [200, 212, 213, 216, 220, 224, 248, 252, 256, 260] {
        program.run("long", &long, &with(24, &[(0, meta), (4, 600)]));
    }
    for size in [4, 8, 12, 20, 23, 24, 25, 28, 64, 4096] {
        let ctx = with(size.max(8), &[(4, 100)])[..size].to_vec();
        let shorter = |out: &mut Outcome| out.forget(512, 8);
        program.run_as(&format!("context of {size}"), &data, &ctx, shorter);
    }
    for off in [8, 16, 20, 24, 60] {
        program.run(
            &format!("{off} set"),
            &data,
            &with(64, &[(4, 100), (off, 1)]),
        );
    }
    for len in [3000, 3520] {
        program.run(
            &format!("{len}"),
            &udp(4, len),
            &with(24, &[(4, len as u32)]),
        );
    }
    duel.finish(450);
}

#[test]
fn skb_contexts_given() {
    let duel = Duel::new();
    for kind in [
        ProgType::SocketFilter,
        ProgType::SchedCls,
        ProgType::SchedAct,
    ] {
        let program = reader(&duel, kind, 0);
        let data = udp(4, 100);
        for word in 0..60u32 {
            for value in [
                1,
                2,
                99,
                100,
                200,
                0x100,
                0xffff,
                0x10000,
                0x10001,
                u32::MAX,
            ] {
                if word * 4 == f::IFINDEX && value > 1 {
                    continue;
                }
                let label = format!("byte {} = {value:#x}", word * 4);
                program.run(&label, &data, &with(256, &[(word * 4, value)]));
            }
        }
        for size in [1, 4, 8, 52, 100, 160, 191, 192, 193, 200, 4096] {
            let mut ctx = vec![0; size];
            program.run(&format!("context of {size}"), &data, &ctx);
            ctx[size - 1] = 1;
            program.run(&format!("context of {size}, last set"), &data, &ctx);
        }
        for (segs, size, wire) in [(1, 1, 0), (2, 50, 100), (3, 0, 0), (0, 1400, 3000)] {
            let fields = [
                (f::GSO_SEGS, segs),
                (f::GSO_SIZE, size),
                (f::WIRE_LEN, wire),
            ];
            program.run(&format!("{fields:?}"), &data, &with(192, &fields));
        }
    }
    duel.finish(3000);
}

/// Fields that have 16 bits in the kernel, though 32 in `__sk_buff`.
const HALVES: [u32; 3] = [f::QUEUE_MAPPING, f::TC_INDEX, f::TC_CLASSID];

/// docs/differences.md: they keep all that was written.
#[test]
fn short_fields_keep_what_was_written() {
    let duel = Duel::new();
    for (off, there) in HALVES.into_iter().zip([0, 0x5678, 0x5678]) {
        let text = format!(
            "{BEGIN}r2 = 305419896\n*(u32 *)(r6 +{off}) = r2\nr0 = *(u32 *)(r6 +{off})\n\
             *(u64 *)(r9 +0) = r0\nr0 = 0\nexit\n"
        );
        let program = duel.load(&format!("writes {off}"), ProgType::SchedCls, &[IN], &text);
        let seen: Vec<_> = program
            .each(&udp(4, 60), &[])
            .iter()
            .map(|s| s.seen(0))
            .collect();
        assert_eq!(
            seen,
            [Some(there), Some(0x1234_5678), Some(0x1234_5678)],
            "field {off}"
        );
    }
}

#[test]
fn fields_written() {
    let duel = Duel::new();
    let writes: [(u32, u32, bool); 10] = [
        (f::MARK, 4, true),
        (f::QUEUE_MAPPING, 4, true),
        (f::PRIORITY, 4, true),
        (f::TC_INDEX, 4, true),
        (f::TC_CLASSID, 4, true),
        (f::TSTAMP, 8, true),
        (f::CB, 4, false),
        (f::CB + 8, 8, false),
        (f::CB + 17, 1, false),
        (f::CB + 18, 2, false),
    ];
    for kind in [
        ProgType::SocketFilter,
        ProgType::SchedCls,
        ProgType::SchedAct,
    ] {
        for (off, size, link) in writes {
            if link && kind == ProgType::SocketFilter {
                continue;
            }
            let mut text = BEGIN.to_string();
            text += &format!("r2 = *(u64 *)(r8 +0)\n*(u{} *)(r6 +{off}) = r2\n", size * 8);
            text += &store_fields(&FIELDS, 0);
            if kind != ProgType::SocketFilter {
                text += &store_fields(&LINK_FIELDS, 528);
            }
            text += "r0 = 0\nexit\n";
            let program = duel.load(&format!("{kind:?} writes {off}"), kind, &[IN], &text);
            for value in [
                0,
                1,
                0xfffe,
                0xffff,
                0x10001,
                u64::MAX,
                0x1234_5678_9abc_def0,
            ] {
                if value > 0xfffe && HALVES.contains(&off) {
                    continue;
                }
                program.set("in", &[0; 4], &words(&[value]));
                program.run(&format!("{value:#x}"), &udp(4, 60), &[0; 192]);
                program.run(&format!("{value:#x}"), &udp(4, 60), &[]);
            }
        }
    }
    duel.finish(400);
}

#[test]
fn metadata_is_seen_and_returned() {
    let duel = Duel::new();
    let text = format!(
        "{BEGIN}r2 = *(u32 *)(r6 +8)\nr3 = *(u32 *)(r6 +0)\nr4 = r2\nr4 += 4\n\
         if r4 > r3 goto none\nr5 = *(u32 *)(r2 +0)\n*(u64 *)(r9 +0) = r5\n\
         *(u32 *)(r2 +0) = 77\nnone:\nr0 = 2\nexit\n"
    );
    let program = duel.load("metadata", ProgType::Xdp, &[IN], &text);
    for meta in [0, 4, 8, 40] {
        let ctx = with(xdp_md::SIZE as usize, &[(0, meta), (4, 100)]);
        let out = program.run(&format!("{meta}"), &udp(4, 100), &ctx);
        assert!(matches!(out, Outcome::Ran { .. }));
    }
    duel.finish(8);
}
