//! Packet loads of classic BPF.

use crate::duel::Duel;
use crate::packets::{BEGIN, IN, TYPES, frame, udp, words};
use bpf_core::uapi::ProgType;

const KINDS: [ProgType; 3] = [
    ProgType::SocketFilter,
    ProgType::SchedCls,
    ProgType::SchedAct,
];

const OFFSETS: [i32; 41] = [
    0,
    1,
    12,
    13,
    14,
    20,
    44,
    45,
    46,
    47,
    56,
    57,
    58,
    59,
    60,
    61,
    100,
    0xffff,
    0x10000,
    i32::MAX,
    i32::MAX - 3,
    -1,
    -4,
    -14,
    -0x1000,
    -0x10_0000,
    -0x10_0000 + 1,
    -0x10_0000 + 20,
    -0x10_0000 + 45,
    -0x10_0000 + 46,
    -0x10_0000 - 1,
    -0x20_0000,
    -0x20_0000 + 12,
    -0x20_0000 + 13,
    -0x20_0000 + 59,
    -0x20_0000 + 60,
    -0x20_0000 - 1,
    -0x20_0000 - 100,
    -0x30_0000,
    i32::MIN,
    i32::MIN + 1,
];

/// Loads at offsets that the program reads from `$in`; a load that fails ends the
/// program with 0.
#[test]
fn indirect_loads() {
    let duel = Duel::new();
    for kind in KINDS {
        for size in [8, 16, 32] {
            let text = format!(
                "{BEGIN}r7 = *(u64 *)(r8 +0)\n*(u64 *)(r9 +0) = 1\nr0 = *(u{size} *)skb[r7 + 0]\n\
                 *(u64 *)(r9 +8) = r0\nr0 = 77\nexit\n"
            );
            let program = duel.load(&format!("{kind:?} ind {size}"), kind, &[IN], &text);
            for data in [udp(4, 60), udp(6, 60), frame(0x0806, 60), frame(60, 15)] {
                for off in OFFSETS {
                    for high in [0, 1 << 32] {
                        let word = u64::from(off as u32) | high;
                        program.set("in", &[0; 4], &words(&[word]));
                        program.run(&format!("{off:#x} of {}", data.len()), &data, &[]);
                    }
                }
            }
        }
    }
    duel.finish(5000);
}

#[test]
fn absolute_and_indexed_loads() {
    let duel = Duel::new();
    for kind in KINDS {
        for off in OFFSETS {
            let load = |index: &str, size| {
                format!(
                    "r7 = *(u64 *)(r8 +0)\nr0 = *(u{size} *)skb[{index}]\n*(u64 *)(r9 +0) = r0\n"
                )
            };
            for (index, size) in [(format!("{off}"), 16), (format!("r7 + {off}"), 32)] {
                let text = format!("{BEGIN}{}r0 = 77\nexit\n", load(&index, size));
                let program = duel.load(&format!("{kind:?} [{index}] {size}"), kind, &[IN], &text);
                for add in [0u64, 4, u64::MAX, 0x7fff_ffff, 1 << 32] {
                    program.set("in", &[0; 4], &words(&[add]));
                    program.run(&format!("+{add:#x}"), &udp(4, 60), &[]);
                }
            }
        }
    }
    duel.finish(2000);
}

/// A subprogram's failed load ends it alone: the caller goes on.
#[test]
fn packets_of_every_type() {
    let duel = Duel::new();
    let text = format!(
        "{BEGIN}r0 = *(u16 *)skb[-2097140]\n*(u64 *)(r9 +0) = r0\nr0 = *(u8 *)skb[-1048576]\n\
         *(u64 *)(r9 +8) = r0\nr0 = *(u32 *)skb[0]\n*(u64 *)(r9 +16) = r0\nexit\n"
    );
    for kind in KINDS {
        let program = duel.load(&format!("{kind:?}"), kind, &[IN], &text);
        for ethertype in TYPES {
            for len in [14, 15, 18, 34, 54, 60] {
                let label = format!("{ethertype:#x}, {len}");
                program.run(&label, &frame(ethertype, len), &[]);
            }
        }
    }
    duel.finish(200);
}
