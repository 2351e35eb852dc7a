//! Helpers of XDP programs.

use crate::duel::{Duel, MapOf};
use crate::packets::{BEGIN, IN, udp, words};
use bpf_core::uapi::{MapType, ProgType};

/// Distances around every limit of a frame.
const DELTAS: [i32; 40] = [
    0,
    1,
    -1,
    2,
    3,
    4,
    -4,
    5,
    -5,
    8,
    -8,
    32,
    -32,
    46,
    47,
    50,
    -50,
    86,
    87,
    100,
    -100,
    128,
    -128,
    -212,
    -213,
    -216,
    -217,
    -220,
    -252,
    -256,
    -257,
    1000,
    3400,
    3420,
    3421,
    4000,
    -4000,
    i32::MAX,
    i32::MIN,
    65536,
];

/// Stores packet length and metadata length, and puts marks at both ends.
const STATE: &str = "r1 = r6\ncall bpf_xdp_get_buff_len\n*(u64 *)(r9 +24) = r0\n\
    r1 = *(u32 *)(r6 +0)\nr2 = *(u32 *)(r6 +4)\nr3 = *(u32 *)(r6 +8)\n\
    r4 = r1\nr4 += 14\nif r4 > r2 goto short\nr5 = *(u32 *)(r1 +0)\n*(u64 *)(r9 +32) = r5\n\
    *(u8 *)(r1 +3) = 9\nshort:\nr4 = r3\nr4 += 4\nif r4 > r1 goto nometa\n\
    r5 = *(u32 *)(r3 +0)\n*(u64 *)(r9 +56) = r5\nnometa:\n\
    r2 -= r1\nr1 -= r3\n*(u64 *)(r9 +40) = r2\n*(u64 *)(r9 +48) = r1\nr0 = 2\nexit\n";

fn call(helper: &str, word: usize) -> String {
    format!(
        "r1 = r6\nr2 = *(u64 *)(r8 +{})\ncall {helper}\n*(u64 *)(r9 +{}) = r0\n",
        word * 8,
        word * 8
    )
}

/// Metadata that nobody wrote is what was in the headroom: not compared.
fn meta_ctx(len: usize) -> Vec<u8> {
    let mut ctx = vec![0; 24];
    ctx[4..8].copy_from_slice(&(len as u32).to_ne_bytes());
    ctx
}

#[test]
fn adjusting() {
    let duel = Duel::new();
    let names = [
        "bpf_xdp_adjust_head",
        "bpf_xdp_adjust_tail",
        "bpf_xdp_adjust_meta",
    ];
    for first in names {
        for second in names {
            let text = format!("{BEGIN}{}{}{STATE}", call(first, 0), call(second, 1));
            let program = duel.load(&format!("{first}, {second}"), ProgType::Xdp, &[IN], &text);
            for a in DELTAS {
                let some: &[i32] = &[0, 4, -4, 20, -32, -100, -216, 3300];
                for b in some {
                    program.set("in", &[0; 4], &words(&[a as i64 as u64, *b as i64 as u64]));
                    for len in [60, 100] {
                        let data = udp(4, len);
                        program.run(&format!("{a}, {b} on {len}"), &data, &[]);
                    }
                    program.run(&format!("{a}, {b}, ctx"), &udp(4, 100), &meta_ctx(100));
                }
            }
        }
    }
    duel.finish(5000);
}

#[test]
fn long_frames() {
    let duel = Duel::new();
    for helper in ["bpf_xdp_adjust_tail", "bpf_xdp_adjust_head"] {
        let text = format!("{BEGIN}{}{STATE}", call(helper, 0));
        let program = duel.load(helper, ProgType::Xdp, &[IN], &text);
        for len in [1500, 3400, 3519, 3520] {
            for delta in DELTAS
                .into_iter()
                .chain([-3400, -3505, -3506, -3507, 20, 1920, 1921])
            {
                program.set("in", &[0; 4], &words(&[delta as i64 as u64]));
                program.run(&format!("{delta} on {len}"), &udp(4, len), &[]);
            }
        }
    }
    duel.finish(500);
}

#[test]
fn bytes_in_and_out() {
    let duel = Duel::new();
    let bounded = "r4 = *(u64 *)(r8 +8)\nif r4 > 256 goto no\nif r4 < 1 goto no\n";
    let load = format!(
        "{BEGIN}r1 = r6\nr2 = *(u64 *)(r8 +0)\nr3 = r9\nr3 += 64\n{bounded}\
         call bpf_xdp_load_bytes\n*(u64 *)(r9 +0) = r0\nno:\nr0 = 2\nexit\n"
    );
    let store = format!(
        "{BEGIN}r1 = r6\nr2 = *(u64 *)(r8 +0)\nr3 = map$source[0]+0\n{bounded}\
         call bpf_xdp_store_bytes\n*(u64 *)(r9 +0) = r0\nno:\nr0 = 2\nexit\n"
    );
    let source = MapOf("source", MapType::Array, 4, 256, 1);
    for (name, text) in [("load", load), ("store", store)] {
        let maps = if name == "load" {
            vec![IN]
        } else {
            vec![IN, source]
        };
        let program = duel.load(name, ProgType::Xdp, &maps, &text);
        if name == "store" {
            program.set("source", &[0; 4], &[0xa5; 256]);
        }
        let offsets = [
            0,
            1,
            13,
            14,
            50,
            99,
            100,
            101,
            0xffff,
            0x10000,
            1 << 31,
            u32::MAX.into(),
        ];
        for off in offsets.into_iter().chain([1 << 32, u64::MAX]) {
            for len in [1, 2, 7, 50, 99, 100, 101, 256] {
                program.set("in", &[0; 4], &words(&[off, len]));
                program.run(&format!("{off:#x}, {len}"), &udp(4, 100), &[]);
            }
        }
    }
    duel.finish(400);
}

/// Packets of several buffers in the kernel, of one here: what helpers say of the
/// whole is the same.
#[test]
fn packets_of_several_buffers() {
    let duel = Duel::new();
    let len = "r1 = r6\ncall bpf_xdp_get_buff_len\n*(u64 *)(r9 +24) = r0\n";
    let bounded = "r4 = *(u64 *)(r8 +8)\nif r4 > 512 goto no\nif r4 < 1 goto no\n";
    let bytes = format!(
        "{BEGIN}{len}r1 = r6\nr2 = *(u64 *)(r8 +0)\nr3 = r9\nr3 += 64\n{bounded}\
         call bpf_xdp_load_bytes\n*(u64 *)(r9 +0) = r0\n*(u64 *)(r9 +72) = 7\n\
         r1 = r6\nr2 = *(u64 *)(r8 +0)\nr3 = r9\nr3 += 64\n{bounded}\
         call bpf_xdp_store_bytes\n*(u64 *)(r9 +8) = r0\nno:\nr0 = 2\nexit\n"
    );
    let bytes = duel.load("bytes", ProgType::Xdp, &[IN], &bytes);
    let cut = format!(
        "{BEGIN}{}{len}r0 = 2\nexit\n",
        call("bpf_xdp_adjust_tail", 0)
    );
    let cut = duel.load("cut", ProgType::Xdp, &[IN], &cut);
    for whole in [3521usize, 4000, 7616, 9000, 16000] {
        let data = udp(4, whole);
        let end = whole as u64;
        for off in [
            0,
            3400,
            3519,
            3520,
            7615,
            7616,
            end - 513,
            end - 512,
            end - 1,
            end,
            end + 1,
        ] {
            for n in [1, 2, 121, 512] {
                bytes.set("in", &[0; 4], &words(&[off, n]));
                bytes.run(&format!("{n} at {off} of {whole}"), &data, &[]);
            }
        }
        for by in [
            0i64,
            1,
            100,
            479,
            480,
            481,
            3000,
            end as i64 - 14,
            end as i64 - 13,
        ] {
            cut.set("in", &[0; 4], &words(&[-by as u64]));
            cut.run(&format!("cut {whole} by {by}"), &data, &[]);
        }
    }
    duel.finish(250);
}

#[test]
fn redirect() {
    let duel = Duel::new();
    let text = format!(
        "{BEGIN}r1 = *(u64 *)(r8 +0)\nr2 = *(u64 *)(r8 +8)\ncall bpf_redirect\n\
         *(u64 *)(r9 +0) = r0\nr0 = 2\nexit\n"
    );
    for kind in [ProgType::Xdp, ProgType::SchedCls, ProgType::SchedAct] {
        let program = duel.load(&format!("{kind:?} redirect"), kind, &[IN], &text);
        for ifindex in [0, 1, 2, u64::MAX] {
            for flags in [0, 1, 2, 3, 1 << 32, u64::MAX] {
                program.set("in", &[0; 4], &words(&[ifindex, flags]));
                program.run(&format!("{ifindex}, {flags:#x}"), &udp(4, 60), &[]);
            }
        }
    }
    duel.finish(100);
}
