//! Helpers of `__sk_buff` programs.

use crate::duel::{Duel, MapOf, Outcome};
use crate::packets::{BEGIN, IN, frame, store_fields, udp, vlan, words};
use bpf_core::uapi::{MapType, ProgType, errno, sk_buff as f};
use bpfvisor_tests::generate::Rng;

const BYTES: MapOf = MapOf("bytes", MapType::Array, 4, 256, 1);

/// What is seen of the packet: fields, and the first and last bytes.
fn state() -> String {
    let fields = [
        (f::LEN, 4),
        (f::PROTOCOL, 4),
        (f::VLAN_PRESENT, 4),
        (f::VLAN_TCI, 4),
        (f::VLAN_PROTO, 4),
        (f::PKT_TYPE, 4),
        (f::GSO_SIZE, 4),
    ];
    let bounds = "r1 = *(u32 *)(r6 +76)\nr2 = *(u32 *)(r6 +80)\nr3 = *(u32 *)(r6 +140)\n\
        r2 -= r1\nr1 -= r3\n*(u64 *)(r9 +600) = r2\n*(u64 *)(r9 +608) = r1\n\
        r1 = r6\nr2 = 0\nr3 = r9\nr3 += 616\nr4 = 8\nr5 = 0\n\
        call bpf_skb_load_bytes_relative\n*(u64 *)(r9 +624) = r0\n\
        r1 = r6\nr2 = 0\nr3 = r9\nr3 += 632\nr4 = 8\nr5 = 1\n\
        call bpf_skb_load_bytes_relative\n*(u64 *)(r9 +640) = r0\nr0 = 0\nexit\n";
    format!("{}{bounds}", store_fields(&fields, 512))
}

fn packets() -> [(&'static str, Vec<u8>); 6] {
    [
        ("v4", udp(4, 60)),
        ("v6", udp(6, 80)),
        ("vlan", vlan(70)),
        ("arp", frame(0x0806, 42)),
        ("llc", frame(40, 64)),
        ("long v4", udp(4, 1514)),
    ]
}

/// A call with R2 to R5 from the words of `$in`.
fn call(helper: &str, args: usize, slot: usize) -> String {
    let mut text = "r1 = r6\n".to_string();
    for i in 0..args {
        text += &format!("r{} = *(u64 *)(r8 +{})\n", i + 2, slot * 32 + i * 8);
    }
    text + &format!("call {helper}\n*(u64 *)(r9 +{}) = r0\n", slot * 8)
}

/// Every combination of the arguments, on every packet.
fn all(duel: &Duel, helper: &str, args: &[&[u64]]) {
    for kind in [ProgType::SchedCls] {
        let text = format!("{BEGIN}{}{}", call(helper, args.len(), 0), state());
        let program = duel.load(&format!("{kind:?} {helper}"), kind, &[IN], &text);
        let count: usize = args.iter().map(|a| a.len()).product();
        for n in 0..count {
            let mut rest = n;
            let values: Vec<u64> = args
                .iter()
                .map(|choices| {
                    let value = choices[rest % choices.len()];
                    rest /= choices.len();
                    value
                })
                .collect();
            program.set("in", &[0; 4], &words(&values));
            for (what, data) in packets() {
                program.run(&format!("{values:x?} on {what}"), &data, &[]);
            }
        }
    }
}

const HUGE: u64 = u64::MAX;

#[test]
fn lengths() {
    let duel = Duel::new();
    let sizes: &[u64] = &[
        0,
        1,
        13,
        14,
        15,
        33,
        34,
        40,
        53,
        54,
        59,
        60,
        61,
        64,
        80,
        100,
        256,
        1514,
        1600,
        3000,
        16065,
        65536,
        1 << 31,
        HUGE,
    ];
    all(&duel, "bpf_skb_change_tail", &[sizes, &[0, 1]]);
    all(
        &duel,
        "bpf_skb_change_head",
        &[
            &[0, 1, 4, 14, 20, 60, 200, 256, 300, 2000, 1 << 31, HUGE],
            &[0, 1],
        ],
    );
    all(&duel, "bpf_skb_pull_data", &[sizes]);
    duel.finish(1000);
}

/// docs/differences.md: a packet grows in its buffer, not beyond.
#[test]
fn growth_ends_with_the_buffer() {
    let duel = Duel::new();
    for (helper, by) in [("bpf_skb_change_tail", 4096), ("bpf_skb_change_head", 4000)] {
        let text = format!("{BEGIN}{}{}", call(helper, 2, 0), state());
        let program = duel.load(helper, ProgType::SchedCls, &[IN], &text);
        program.set("in", &[0; 4], &words(&[by, 0]));
        let seen: Vec<_> = program
            .each(&udp(4, 60), &[])
            .iter()
            .map(|s| s.seen(0))
            .collect();
        let no = Some(-i64::from(errno::ENOMEM) as u64);
        assert_eq!(seen, [Some(0), no, no], "{helper}");
    }
}

/// docs/differences.md: room is not opened behind the packet's end.
#[test]
fn room_lies_inside_the_packet() {
    let duel = Duel::new();
    let text = format!(
        "{BEGIN}{}{}{}",
        call("bpf_skb_change_tail", 2, 0),
        call("bpf_skb_adjust_room", 3, 1),
        state()
    );
    let program = duel.load("tail, room", ProgType::SchedCls, &[IN], &text);
    program.set("in", &[0; 4], &words(&[40, 0, 0, 0, 8, 0, 0]));
    let seen: Vec<_> = program
        .each(&udp(6, 80), &[])
        .iter()
        .map(|s| s.seen(8))
        .collect();
    let no = Some(-i64::from(errno::ENOMEM) as u64);
    assert_eq!(seen, [Some(0), no, no]);
}

#[test]
fn rooms() {
    let duel = Duel::new();
    let deltas: &[u64] = &[
        0,
        1,
        4,
        8,
        20,
        40,
        100,
        0x1000,
        -1i64 as u64,
        -4i64 as u64,
        -6i64 as u64,
        -20i64 as u64,
        -26i64 as u64,
        -27i64 as u64,
        -0x1000i64 as u64,
    ];
    let flags: &[u64] = &[
        1,
        2,
        4,
        6,
        8,
        0x10,
        0x20,
        0x40,
        0x80,
        0x100,
        0x180,
        0x200,
        0x0a,
        0x12,
        0x14,
        0x1a,
        0x42,
        0x62,
        (14 << 56) | 2,
        14 << 56,
        0x82,
    ];
    all(
        &duel,
        "bpf_skb_adjust_room",
        &[deltas, &[0, 1, 2, HUGE], &[0]],
    );
    all(
        &duel,
        "bpf_skb_adjust_room",
        &[&[4, 20, 40, -4i64 as u64, -20i64 as u64], &[0, 1], flags],
    );
    duel.finish(1000);
}

#[test]
fn tags() {
    let duel = Duel::new();
    let protos: &[u64] = &[0, 0x0081, 0xa888, 0x0008, 0x8100, 0x1_0081];
    all(
        &duel,
        "bpf_skb_vlan_push",
        &[protos, &[0, 5, 0x1005, 0xffff, 0x1_0002]],
    );
    all(&duel, "bpf_skb_vlan_pop", &[]);
    duel.finish(300);
}

#[test]
fn rarer_ones() {
    let duel = Duel::new();
    all(
        &duel,
        "bpf_skb_change_proto",
        &[&[0, 0x0008, 0xdd86, 0x0608, 0x0800, 0x1_0008], &[0, 1]],
    );
    all(
        &duel,
        "bpf_skb_change_type",
        &[&[0, 1, 2, 3, 4, 5, 7, 1 << 32, HUGE]],
    );
    all(&duel, "bpf_csum_update", &[&[0, 1, HUGE]]);
    all(&duel, "bpf_csum_level", &[&[0, 1, 2, 3, 4, HUGE]]);
    duel.finish(100);
}

#[test]
fn bytes_in_and_out() {
    let duel = Duel::new();
    let offsets = [
        0,
        1,
        13,
        14,
        40,
        45,
        46,
        50,
        59,
        60,
        61,
        0xfffe,
        0xffff,
        0x10000,
        1 << 31,
        HUGE,
    ];
    let lens = [1, 2, 14, 20, 46, 59, 60, 61, 256];
    let bounded = "r4 = *(u64 *)(r8 +8)\nif r4 > 256 goto no\nif r4 < 1 goto no\n";
    let tail = "*(u64 *)(r9 +0) = r0\nno:\nr0 = 0\nexit\n";
    let cases = [
        ("bpf_skb_load_bytes", "r3 = r9\nr3 += 64\n", vec![0]),
        (
            "bpf_skb_load_bytes_relative",
            "r3 = r9\nr3 += 64\n",
            vec![0, 1, 2, 1 << 32, HUGE],
        ),
        (
            "bpf_skb_store_bytes",
            "r3 = map$bytes[0]+0\n",
            vec![0, 1, 2, 3, 4, 1 << 32, HUGE],
        ),
    ];
    for (helper, r3, fives) in cases {
        let text = format!(
            "{BEGIN}r0 = map$bytes[0]+0\nr1 = r6\nr2 = *(u64 *)(r8 +0)\n{r3}{bounded}\
             r5 = *(u64 *)(r8 +16)\ncall {helper}\n{tail}"
        );
        for kind in [ProgType::SocketFilter, ProgType::SchedCls] {
            if kind == ProgType::SocketFilter && helper.contains("store") {
                continue;
            }
            let program = duel.load(&format!("{kind:?} {helper}"), kind, &[IN, BYTES], &text);
            program.set("bytes", &[0; 4], &[0xa5; 256]);
            for off in offsets {
                for len in lens {
                    for &five in &fives {
                        program.set("in", &[0; 4], &words(&[off, len, five]));
                        let label = format!("{off:#x}, {len}, {five:#x}");
                        program.run(&label, &udp(4, 60), &[]);
                    }
                }
            }
        }
    }
    duel.finish(2000);
}

#[test]
fn checksums_replaced() {
    let duel = Duel::new();
    let offsets: &[u64] = &[0, 1, 24, 25, 40, 58, 59, 60, 0xfffe, 0x10000, HUGE];
    let values: &[u64] = &[0, 1, 0xffff, 0x12345, 0xffff_ffff, HUGE];
    let more: &[u64] = &[0, 7, 0xfffe_1234];
    let l3: &[u64] = &[0, 2, 4, 1, 8, 0xf, 0x10, 0x12];
    let l4: &[u64] = &[
        0, 2, 4, 8, 0x10, 0x12, 0x14, 0x20, 0x22, 0x24, 0x30, 0x60, 0x62, 0x82, 0x92, 0x100,
    ];
    let short = |duel: &Duel, helper: &str, flags: &[u64]| {
        let kind = ProgType::SchedCls;
        let text = format!("{BEGIN}{}{}", call(helper, 4, 0), state());
        let program = duel.load(helper, kind, &[IN], &text);
        for off in offsets {
            for (a, b) in values.iter().flat_map(|a| more.iter().map(move |b| (a, b))) {
                for flag in flags {
                    program.set("in", &[0; 4], &words(&[*off, *a, *b, *flag]));
                    let mut data = udp(4, 60);
                    data[40..42].fill(0);
                    program.run(&format!("{off:#x}, {a:#x}, {b:#x}, {flag:#x}"), &data, &[]);
                }
            }
        }
    };
    short(&duel, "bpf_l3_csum_replace", l3);
    short(&duel, "bpf_l4_csum_replace", l4);
    duel.finish(1000);
}

/// The difference of two buffers of every size.
#[test]
fn checksum_differences() {
    let duel = Duel::new();
    let bounded = |reg: u32, word: u32| {
        format!(
            "r{reg} = *(u64 *)(r8 +{})\nif r{reg} > 128 goto no\n",
            word * 8
        )
    };
    for (from, to) in [(true, true), (true, false), (false, true), (false, false)] {
        let pointer = |reg: u32, given: bool, at: u32| match given {
            true => format!("r{reg} = map$bytes[0]+{at}\n{}", bounded(reg + 1, reg / 2)),
            false => format!("r{reg} = 0\nr{} = 0\n", reg + 1),
        };
        let text = format!(
            "{BEGIN}r0 = map$bytes[0]+0\n{}{}r5 = *(u64 *)(r8 +24)\ncall bpf_csum_diff\n\
             *(u64 *)(r9 +0) = r0\nno:\nr0 = 2\nexit\n",
            pointer(1, from, 0),
            pointer(3, to, 128)
        );
        for kind in [ProgType::Xdp, ProgType::SchedCls] {
            let program = duel.load(&format!("{kind:?} csum_diff"), kind, &[IN, BYTES], &text);
            for fill in [0u8, 1, 0xff] {
                let bytes: Vec<u8> = (0..256).map(|i| (i as u8).wrapping_mul(fill)).collect();
                let bytes = if fill == 255 { vec![255; 256] } else { bytes };
                program.set("bytes", &[0; 4], &bytes);
                for (a, b) in [
                    (0, 0),
                    (4, 4),
                    (8, 4),
                    (0, 20),
                    (20, 0),
                    (1, 4),
                    (4, 2),
                    (128, 64),
                ] {
                    for seed in [0, 1, 0xffff, 0x1234_5678, 0xffff_ffff, 1 << 32, HUGE] {
                        program.set("in", &[0; 4], &words(&[a, b, 0, seed]));
                        program.run(&format!("{a}, {b}, {seed:#x}"), &udp(4, 60), &[]);
                    }
                }
            }
        }
    }
    duel.finish(500);
}

/// The hash is keyed: that there is one, and what becomes of it.
#[test]
fn hashes() {
    let duel = Duel::new();
    let keep = |at: usize| {
        format!(
            "r1 = 0\nr0 = *(u32 *)(r6 +68)\nif r0 == 0 goto +1\nr1 = 1\n*(u64 *)(r9 +{at}) = r1\n"
        )
    };
    let recalc = "r1 = r6\ncall bpf_get_hash_recalc\nr7 = r0\n";
    let same =
        |at: usize| format!("{recalc}r1 = *(u32 *)(r6 +68)\nr1 -= r7\n*(u64 *)(r9 +{at}) = r1\n");
    let steps: [(&str, String); 10] = [
        (
            "grow",
            "r1 = r6\nr2 = 200\nr3 = 0\ncall bpf_skb_change_tail\n".into(),
        ),
        (
            "room",
            "r1 = r6\nr2 = 8\nr3 = 0\nr4 = 0\ncall bpf_skb_adjust_room\n".into(),
        ),
        (
            "proto",
            "r1 = r6\nr2 = 0xdd86\nr3 = 0\ncall bpf_skb_change_proto\n".into(),
        ),
        (
            "set",
            "r1 = r6\nr2 = 5\ncall bpf_set_hash\n*(u64 *)(r9 +0) = r0\n".into(),
        ),
        (
            "invalidate",
            "r1 = r6\ncall bpf_set_hash_invalid\n*(u64 *)(r9 +8) = r0\n".into(),
        ),
        ("recalc", recalc.into()),
        (
            "tail",
            "r1 = r6\nr2 = 58\nr3 = 0\ncall bpf_skb_change_tail\n".into(),
        ),
        (
            "push",
            "r1 = r6\nr2 = 129\nr3 = 5\ncall bpf_skb_vlan_push\n".into(),
        ),
        ("pull", "r1 = r6\nr2 = 50\ncall bpf_skb_pull_data\n".into()),
        (
            "head",
            "r1 = r6\nr2 = 14\nr3 = 0\ncall bpf_skb_change_head\n".into(),
        ),
    ];
    for (a, one) in &steps {
        for (b, two) in &steps {
            let text = format!(
                "{BEGIN}{}{one}{}{two}{}{}{}r0 = 0\nexit\n",
                keep(16),
                keep(24),
                keep(32),
                same(40),
                keep(48)
            );
            let program = duel.load(&format!("{a}, {b}"), ProgType::SchedCls, &[IN], &text);
            for (what, data) in packets() {
                program.run(what, &data, &[]);
            }
        }
    }
    duel.finish(300);
}

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).map_or(default, |n| n.parse().unwrap())
}

/// Sequences of calls that each change the packet: `COUNT` of them, from `SEED`.
#[test]
fn sequences() {
    let duel = Duel::new();
    let mut rng = Rng::new(number("SEED", 7));
    let mut pick = |from: &[u64]| rng.pick(from);
    for n in 0..number("COUNT", 400) {
        let mut text = BEGIN.to_string();
        let mut what = Vec::new();
        for step in 0..4 {
            let (helper, args) = match pick(&[0, 1, 2, 3, 4, 5, 6]) {
                0 => ("bpf_skb_change_tail", vec![pick(&[100, 120, 200]), 0]),
                1 => ("bpf_skb_change_head", vec![pick(&[0, 4, 14, 20]), 0]),
                2 => (
                    "bpf_skb_vlan_push",
                    vec![pick(&[0x81, 0xa888]), pick(&[1, 0x2005])],
                ),
                3 => ("bpf_skb_vlan_pop", vec![]),
                4 => ("bpf_skb_pull_data", vec![pick(&[0, 20, 64])]),
                5 => (
                    "bpf_skb_adjust_room",
                    vec![
                        pick(&[4, 8, 20, (-4i64) as u64, (-8i64) as u64]),
                        pick(&[0, 1]),
                        pick(&[0, 0x20]),
                    ],
                ),
                _ => ("bpf_skb_change_proto", vec![pick(&[0x0008, 0xdd86]), 0]),
            };
            text += "r1 = r6\n";
            for (i, arg) in args.iter().enumerate() {
                text += &format!("r{} = {}\n", i + 2, *arg as i64);
            }
            text += &format!("call {helper}\n*(u64 *)(r9 +{}) = r0\n", step * 8);
            what.push(format!("{helper}{args:x?}"));
        }
        text += &state();
        let name = format!("sequence {n}: {}", what.join(", "));
        let program = duel.load(&name, ProgType::SchedCls, &[IN], &text);
        for (what, data) in packets() {
            let outcome = program.run(what, &data, &[]);
            assert!(matches!(outcome, Outcome::Ran { .. }), "{name} on {what}");
        }
    }
    duel.finish(2000);
}
