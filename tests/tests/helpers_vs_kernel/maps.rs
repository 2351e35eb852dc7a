//! Helpers of maps, loops, tail calls, locks and streams.

use crate::duel::{Duel, MapOf, Outcome};
use crate::packets::{BEGIN, IN, udp, words};
use bpf_core::uapi::{MapType, ProgType};

fn packet() -> Vec<u8> {
    udp(4, 60)
}

#[test]
fn loops() {
    let duel = Duel::new();
    let text = format!(
        "{BEGIN}r1 = *(u64 *)(r8 +0)\nr2 = subprog[body]\nr3 = r10\nr3 += -8\n\
         r4 = *(u64 *)(r8 +8)\n*(u64 *)(r10 -8) = 0\nr4 = *(u64 *)(r8 +8)\n\
         call bpf_loop\n*(u64 *)(r9 +0) = r0\nr1 = *(u64 *)(r10 -8)\n*(u64 *)(r9 +8) = r1\n\
         r0 = 2\nexit\n\
         body:\nr3 = *(u64 *)(r2 +0)\nr3 += 1\n*(u64 *)(r2 +0) = r3\n\
         r4 = map$in[0]+0\nr5 = *(u64 *)(r4 +16)\nr0 = 0\nif r1 != r5 goto +1\nr0 = 1\nexit\n"
    );
    let program = duel.load("bpf_loop", ProgType::Xdp, &[IN], &text);
    for rounds in [
        0,
        1,
        2,
        100,
        1 << 20,
        (1 << 23) + 1,
        1 << 31,
        1 << 32,
        u64::MAX,
    ] {
        for flags in [0, 1, 1 << 32] {
            for stop in [0, 1, 50, u64::MAX] {
                if rounds > 1000 && stop > 50 && rounds < 1 << 23 {
                    continue;
                }
                program.set("in", &[0; 4], &words(&[rounds, flags, stop]));
                program.run(&format!("{rounds:#x}, {flags:#x}, {stop}"), &packet(), &[]);
            }
        }
    }
    duel.finish(100);
}

/// What one call visits, sums and answers, over maps with some elements.
#[test]
fn visits() {
    let duel = Duel::new();
    let maps = [
        ("array", MapOf("m", MapType::Array, 4, 8, 5)),
        ("hash", MapOf("m", MapType::Hash, 4, 8, 8)),
        ("LRU", MapOf("m", MapType::LruHash, 4, 8, 8)),
        ("per-CPU array", MapOf("m", MapType::PercpuArray, 4, 8, 5)),
        ("per-CPU hash", MapOf("m", MapType::PercpuHash, 4, 8, 8)),
    ];
    for (name, map) in maps {
        let text = format!(
            "{BEGIN}r7 = 5\nfill:\n*(u32 *)(r10 -4) = 0\nr7 += -1\n*(u32 *)(r10 -4) = r7\n\
             *(u64 *)(r10 -16) = r7\nr1 = map$m\nr2 = r10\nr2 += -4\nr3 = r10\nr3 += -16\nr4 = 0\n\
             call bpf_map_update_elem\nif r7 != 0 goto fill\n\
             *(u64 *)(r10 -24) = 0\nr1 = map$m\nr2 = subprog[body]\nr3 = r10\nr3 += -24\n\
             r4 = *(u64 *)(r8 +0)\ncall bpf_for_each_map_elem\n*(u64 *)(r9 +0) = r0\n\
             r1 = *(u64 *)(r10 -24)\n*(u64 *)(r9 +8) = r1\nr0 = 2\nexit\n\
             body:\nr5 = *(u32 *)(r2 +0)\nr1 = *(u64 *)(r3 +0)\nr5 += r1\n\
             r1 = *(u64 *)(r4 +0)\nr1 += r5\n*(u64 *)(r4 +0) = r1\n\
             r4 = map$in[0]+0\nr5 = *(u64 *)(r4 +8)\nr0 = 0\nif r1 < r5 goto +1\nr0 = 1\nexit\n"
        );
        let program = duel.load(name, ProgType::Xdp, &[IN, map], &text);
        // An order is given only in arrays.
        let stops: &[u64] = if name.contains("array") {
            &[u64::MAX, 0, 3, 10]
        } else {
            &[u64::MAX]
        };
        for stop in stops {
            for flags in [0, 1, 1 << 63] {
                program.set("in", &[0; 4], &words(&[flags, *stop]));
                program.run(&format!("{flags:#x}, stop at {stop}"), &packet(), &[]);
            }
        }
    }
    duel.finish(40);
}

const PROGS: MapOf = MapOf("progs", MapType::ProgArray, 4, 4, 4);

#[test]
fn tail_calls_end_after_thirty_three() {
    let duel = Duel::new();
    let count = "r1 = *(u64 *)(r9 +0)\nr1 += 1\n*(u64 *)(r9 +0) = r1\n";
    let plain = format!(
        "{BEGIN}{count}r1 = r6\nr2 = map$progs\nr3 = *(u64 *)(r8 +0)\ncall bpf_tail_call\n\
         *(u64 *)(r9 +8) = 5\nr0 = 2\nexit\n"
    );
    let nested = format!(
        "{BEGIN}{count}r1 = r6\ncall inner\nr9 = map$out[0]+0\n*(u64 *)(r9 +16) = r0\nr0 = 2\nexit\n\
         inner:\nr8 = map$in[0]+0\nr2 = map$progs\nr3 = *(u64 *)(r8 +0)\ncall bpf_tail_call\n\
         r9 = map$out[0]+0\nr1 = *(u64 *)(r9 +8)\nr1 += 1\n*(u64 *)(r9 +8) = r1\nr0 = 7\nexit\n"
    );
    let twice = format!(
        "{BEGIN}{count}r1 = r6\ncall inner\nr1 = r6\ncall inner\nr0 = 2\nexit\n\
         inner:\nr8 = map$in[0]+0\nr2 = map$progs\nr3 = *(u64 *)(r8 +0)\ncall bpf_tail_call\n\
         r0 = 7\nexit\n"
    );
    for (name, text) in [("plain", plain), ("nested", nested), ("twice", twice)] {
        for kind in [ProgType::Xdp, ProgType::SchedCls, ProgType::SocketFilter] {
            let program = duel.load(&format!("{kind:?} {name}"), kind, &[IN, PROGS], &text);
            program.set_self("progs", 1);
            for index in [0, 1, 2, 3, 4, 5, 1 << 31, 1 << 32, (1 << 32) + 1, u64::MAX] {
                program.set("in", &[0; 4], &words(&[index]));
                program.run(&format!("slot {index:#x}"), &packet(), &[]);
            }
        }
    }
    duel.finish(150);
}

#[test]
fn queues_and_stacks() {
    let duel = Duel::new();
    for map_type in [MapType::Queue, MapType::Stack] {
        let map = MapOf("m", map_type, 0, 8, 2);
        let mut text = format!("{BEGIN}*(u64 *)(r10 -8) = 1\n");
        let value = "r1 = map$m\nr2 = r10\nr2 += -8\n";
        let mut at = 0;
        for op in "ppPuuuPuffuPPpu".chars() {
            text += value;
            text += match op {
                'p' => "call bpf_map_pop_elem\n",
                'P' => "call bpf_map_peek_elem\n",
                'u' => "r3 = 0\ncall bpf_map_push_elem\n",
                _ => "r3 = *(u64 *)(r8 +0)\ncall bpf_map_push_elem\n",
            };
            text += &format!(
                "*(u64 *)(r9 +{at}) = r0\nr1 = *(u64 *)(r10 -8)\n*(u64 *)(r9 +{}) = r1\nr1 += 3\n\
                 *(u64 *)(r10 -8) = r1\n",
                at + 8
            );
            at += 16;
        }
        text += "r0 = 2\nexit\n";
        let program = duel.load(&format!("{map_type:?}"), ProgType::Xdp, &[IN, map], &text);
        for flags in [0, 1, 2, 3, 4, 1 << 32, u64::MAX] {
            program.set("in", &[0; 4], &words(&[flags]));
            program.run(&format!("{flags:#x}"), &packet(), &[]);
        }
    }
    duel.finish(28);
}

#[test]
fn elements() {
    let duel = Duel::new();
    let types = [
        MapType::Array,
        MapType::Hash,
        MapType::LruHash,
        MapType::PercpuArray,
        MapType::PercpuHash,
        MapType::LruPercpuHash,
    ];
    for map_type in types {
        // A full LRU map chooses whom to drop.
        let lru = matches!(map_type, MapType::LruHash | MapType::LruPercpuHash);
        let map = MapOf("m", map_type, 4, 8, if lru { 1000 } else { 3 });
        let key = "r1 = map$m\nr2 = r10\nr2 += -4\n";
        let text = format!(
            "{BEGIN}*(u32 *)(r10 -4) = 0\nr1 = *(u64 *)(r8 +0)\n*(u32 *)(r10 -4) = r1\n\
             *(u64 *)(r10 -16) = 9\n{key}r3 = r10\nr3 += -16\nr4 = *(u64 *)(r8 +8)\n\
             call bpf_map_update_elem\n*(u64 *)(r9 +0) = r0\n\
             {key}call bpf_map_lookup_elem\nif r0 == 0 goto none\nr0 = *(u64 *)(r0 +0)\n\
             *(u64 *)(r9 +8) = r0\nnone:\n\
             r1 = *(u64 *)(r8 +16)\nif r1 == 0 goto kept\n{key}call bpf_map_delete_elem\n\
             *(u64 *)(r9 +16) = r0\n{key}call bpf_map_delete_elem\n*(u64 *)(r9 +24) = r0\nkept:\n\
             r0 = 2\nexit\n"
        );
        let program = duel.load(&format!("{map_type:?}"), ProgType::Xdp, &[IN, map], &text);
        for delete in [0, 1] {
            for key in [0, 1, 2, 3, u64::from(u32::MAX)] {
                for flags in [0, 1, 2, 3, 4, 5, 8, 1 << 32, u64::MAX] {
                    program.set("in", &[0; 4], &words(&[key, flags, delete]));
                    program.run(&format!("{key:#x}, {flags:#x}, {delete}"), &packet(), &[]);
                }
            }
        }
    }
    duel.finish(800);
}

/// The own CPU's value is the one that a plain lookup finds; beyond the last CPU
/// there is none.
#[test]
fn values_of_other_cpus() {
    let duel = Duel::new();
    for map_type in [
        MapType::PercpuArray,
        MapType::PercpuHash,
        MapType::LruPercpuHash,
    ] {
        let map = MapOf("m", map_type, 4, 8, 3);
        let text = format!(
            "{BEGIN}*(u32 *)(r10 -4) = 1\n*(u64 *)(r10 -16) = 9\nr1 = map$m\nr2 = r10\nr2 += -4\n\
             r3 = r10\nr3 += -16\nr4 = 0\ncall bpf_map_update_elem\n\
             call bpf_get_smp_processor_id\nr3 = r0\nr1 = map$m\nr2 = r10\nr2 += -4\n\
             call bpf_map_lookup_percpu_elem\nif r0 == 0 goto none\nr0 = *(u64 *)(r0 +0)\n\
             *(u64 *)(r9 +0) = r0\nnone:\nr1 = map$m\nr2 = r10\nr2 += -4\nr3 = *(u64 *)(r8 +0)\n\
             call bpf_map_lookup_percpu_elem\nif r0 == 0 goto away\n*(u64 *)(r9 +8) = 1\naway:\n\
             r0 = 2\nexit\n"
        );
        let program = duel.load(&format!("{map_type:?}"), ProgType::Xdp, &[IN, map], &text);
        for cpu in [0, 4096, 1 << 31, u64::from(u32::MAX), 1 << 32] {
            program.set("in", &[0; 4], &words(&[cpu]));
            program.run(&format!("CPU {cpu:#x}"), &packet(), &[]);
        }
    }
    duel.finish(30);
}

const RING: MapOf = MapOf("ring", MapType::Ringbuf, 0, 0, 4096);

/// What the ring says while records come, go, and no longer fit.
#[test]
fn ring_buffers() {
    let duel = Duel::new();
    let query = |at: usize| -> String {
        let one = |what: usize| {
            format!(
                "r1 = map$ring\nr2 = {what}\ncall bpf_ringbuf_query\n*(u64 *)(r9 +{}) = r0\n",
                at + what * 8
            )
        };
        (0..5).map(one).collect()
    };
    let output = "r1 = map$ring\nr2 = r9\nr2 += 512\nr3 = *(u64 *)(r8 +0)\nif r3 > 500 goto no\n\
        r4 = *(u64 *)(r8 +8)\ncall bpf_ringbuf_output\n";
    let text = format!(
        "{BEGIN}{}{output}*(u64 *)(r9 +40) = r0\n{}{output}*(u64 *)(r9 +88) = r0\n{}\
         r1 = map$ring\nr2 = 2000\nr3 = *(u64 *)(r8 +16)\ncall bpf_ringbuf_reserve\n\
         if r0 == 0 goto none\n*(u64 *)(r9 +136) = 1\nr7 = r0\n{}r1 = r7\nr2 = *(u64 *)(r8 +24)\n\
         call bpf_ringbuf_discard\n{}none:\n\
         r1 = map$ring\nr2 = 64\nr3 = *(u64 *)(r8 +16)\ncall bpf_ringbuf_reserve\n\
         if r0 == 0 goto no\n*(u64 *)(r9 +232) = 1\nr1 = r0\nr2 = *(u64 *)(r8 +24)\n\
         call bpf_ringbuf_submit\n{}no:\nr0 = 2\nexit\n",
        query(0),
        query(48),
        query(96),
        query(144),
        query(184),
        query(240)
    );
    for size in [0u64, 1, 7, 8, 9, 64, 500] {
        for (flags, reserve, commit) in [
            (0, 0, 0),
            (1, 0, 1),
            (2, 0, 2),
            (3, 0, 3),
            (4, 0, 4),
            (0, 1, 0),
            (1 << 32, 1 << 40, 1 << 33),
        ] {
            let program = duel.load("ring", ProgType::Xdp, &[IN, RING], &text);
            program.set("in", &[0; 4], &words(&[size, flags, reserve, commit]));
            for round in 0..3 {
                let label = format!("{size}, {flags:#x}, {reserve:#x}, {commit:#x}: {round}");
                program.run(&label, &packet(), &[]);
            }
        }
    }
    duel.finish(200);
}

#[test]
fn ring_sizes_reserved() {
    let duel = Duel::new();
    for size in [
        0u32,
        1,
        8,
        2040,
        4080,
        4081,
        4087,
        4088,
        4089,
        4096,
        8192,
        0x3fff_ffff,
        0x4000_0000,
    ] {
        let text = format!(
            "{BEGIN}r1 = map$ring\nr2 = {size}\nr3 = 0\ncall bpf_ringbuf_reserve\nif r0 == 0 goto no\n\
             *(u64 *)(r9 +0) = 1\nr1 = r0\nr2 = 0\ncall bpf_ringbuf_submit\nno:\nr0 = 2\nexit\n"
        );
        let loaded = duel.try_load(
            &format!("reserve {size}"),
            ProgType::Xdp,
            &[IN, RING],
            &text,
            &[],
        );
        if let Some(program) = loaded {
            program.run("first", &packet(), &[]);
            program.run("second", &packet(), &[]);
        }
    }
    duel.finish(20);
}

/// Numbers that can't be equal: each side says what it must hold.
#[test]
fn time_and_chance() {
    let duel = Duel::new();
    let calls = [
        "bpf_ktime_get_ns",
        "bpf_ktime_get_boot_ns",
        "bpf_ktime_get_coarse_ns",
        "bpf_ktime_get_tai_ns",
        "bpf_jiffies64",
        "bpf_get_prandom_u32",
        "bpf_get_prandom_u32",
        "bpf_get_smp_processor_id",
        "bpf_get_numa_node_id",
        "bpf_ktime_get_ns",
    ];
    let stores = calls.iter().enumerate();
    let stores: String = stores
        .map(|(i, c)| format!("call {c}\n*(u64 *)(r9 +{}) = r0\n", i * 8))
        .collect();
    let program = duel.load(
        "time",
        ProgType::Xdp,
        &[IN],
        &format!("{BEGIN}{stores}r0 = 2\nexit\n"),
    );
    let mut all = Vec::new();
    let each = std::cell::RefCell::new(&mut all);
    program.run_as("once", &packet(), &[], |outcome| {
        if let Outcome::Ran { out, .. } = outcome {
            let word = |i: usize| u64::from_ne_bytes(out[i * 8..i * 8 + 8].try_into().unwrap());
            each.borrow_mut()
                .push((0..10).map(word).collect::<Vec<_>>());
            out.fill(0);
        }
    });
    let [kernel, ours @ ..] = &all[..] else {
        panic!("nothing ran")
    };
    for own in ours {
        for (i, name) in calls.iter().enumerate().take(4) {
            let apart = own[i].abs_diff(kernel[i]);
            assert!(
                apart < 50_000_000,
                "{name}: {} here, {} there",
                own[i],
                kernel[i]
            );
        }
        assert!(
            own[4].abs_diff(kernel[4]) < 500,
            "jiffies: {} and {}",
            own[4],
            kernel[4]
        );
        assert!(
            own[9] > own[0] && own[9] - own[0] < 50_000_000,
            "time stands or runs away"
        );
        assert!(own[2] <= own[9]);
        assert_ne!(own[5], own[6]);
        assert!(own[5] <= u64::from(u32::MAX));
        assert_eq!((own[7], own[8]), (0, 0));
    }
    duel.finish(2);
}
