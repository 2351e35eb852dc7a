//! Redirection: verdicts for every kind of map, key and flags.

use crate::duel::{Duel, MapOf, Outcome};
use crate::packets::{BEGIN, IN, udp, words};
use bpf_core::uapi::{MapType, ProgType};

const REDIRECT: u32 = 4;

/// The loopback device, which every kernel has; a queue of 8 packets on CPU 0.
fn fill(map: MapType) -> Option<Vec<u8>> {
    match map {
        MapType::Devmap | MapType::DevmapHash => Some([1u32, 0].map(u32::to_ne_bytes).concat()),
        MapType::Cpumap => Some([8u32, 0].map(u32::to_ne_bytes).concat()),
        _ => None,
    }
}

#[test]
fn redirect_map() {
    let duel = Duel::new();
    let flags = [
        0,
        1,
        2,
        3,
        4,
        5,
        8,
        9,
        10,
        16,
        17,
        24,
        27,
        32,
        1 << 32,
        u64::MAX,
    ];
    let keys = [0, 1, 2, 3, 4, 0xffff_ffff, 1 << 32, (1 << 32) + 1, u64::MAX];
    let mut sent = 0;
    for map_type in [
        MapType::Devmap,
        MapType::DevmapHash,
        MapType::Cpumap,
        MapType::Xskmap,
    ] {
        let value = if map_type == MapType::Xskmap { 4 } else { 8 };
        let text = format!(
            "{BEGIN}r1 = map$m\nr2 = *(u64 *)(r8 +0)\nr3 = *(u64 *)(r8 +8)\n\
             call bpf_redirect_map\n*(u64 *)(r9 +0) = r0\nexit\n"
        );
        let maps = [IN, MapOf("m", map_type, 4, value, 4)];
        let program = duel.load(map_type.name(), ProgType::Xdp, &maps, &text);
        for full in [false, true] {
            if let (true, Some(value)) = (full, fill(map_type)) {
                program.set("m", &0u32.to_ne_bytes(), &value);
                if map_type != MapType::Cpumap {
                    program.set("m", &2u32.to_ne_bytes(), &value);
                }
            }
            for key in keys {
                for flags in flags {
                    program.set("in", &[0; 4], &words(&[key, flags]));
                    let out = program.run(&format!("{key:#x}, {flags:#x}"), &udp(4, 60), &[]);
                    sent += usize::from(matches!(
                        out,
                        Outcome::Ran {
                            retval: REDIRECT,
                            ..
                        }
                    ));
                }
            }
        }
    }
    assert!(sent > 50, "only {sent} redirections");
    duel.finish(500);
}

#[test]
fn redirect_to_interfaces() {
    let duel = Duel::new();
    let calls = [
        (
            "bpf_redirect",
            "r1 = *(u64 *)(r8 +0)\nr2 = *(u64 *)(r8 +8)\n",
        ),
        (
            "bpf_redirect_peer",
            "r1 = *(u64 *)(r8 +0)\nr2 = *(u64 *)(r8 +8)\n",
        ),
        (
            "bpf_redirect_neigh",
            "r1 = *(u64 *)(r8 +0)\nr2 = 0\nr3 = 0\nr4 = *(u64 *)(r8 +8)\n",
        ),
    ];
    for kind in [ProgType::Xdp, ProgType::SchedCls, ProgType::SchedAct] {
        for (name, arguments) in calls {
            if kind == ProgType::Xdp && name != "bpf_redirect" {
                continue;
            }
            let text = format!("{BEGIN}{arguments}call {name}\n*(u64 *)(r9 +0) = r0\nexit\n");
            let program = duel.load(&format!("{kind:?} {name}"), kind, &[IN], &text);
            for interface in [0, 1, 77, u64::MAX] {
                for flags in [0, 1, 2, 3, 8, 1 << 32, u64::MAX] {
                    program.set("in", &[0; 4], &words(&[interface, flags]));
                    program.run(&format!("{interface}, {flags:#x}"), &udp(4, 60), &[]);
                }
            }
        }
    }
    duel.finish(300);
}

/// A neighbour is given whole or not at all.
#[test]
fn redirect_to_a_neighbour() {
    let duel = Duel::new();
    for size in [1, 4, 19, 20, 21, 32] {
        let text = format!(
            "{BEGIN}*(u64 *)(r10 -8) = 0\n*(u64 *)(r10 -16) = 0\n*(u64 *)(r10 -24) = 0\n\
             *(u64 *)(r10 -32) = 2\nr1 = 1\nr2 = r10\nr2 += -32\nr3 = {size}\nr4 = 0\n\
             call bpf_redirect_neigh\n*(u64 *)(r9 +0) = r0\nexit\n"
        );
        let program = duel.load(&format!("{size} bytes"), ProgType::SchedCls, &[IN], &text);
        program.run("", &udp(4, 60), &[]);
    }
    duel.finish(12);
}
