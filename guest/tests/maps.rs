//! The host's map operations, and maps in programs.
mod world;
use bpf_core::uapi::{MapType, ProgType, errno, map_flags};
use bpfvisor_abi::op::{NO_KEY, batch, code};
use world::World;

const FRAME: [u8; 18] = [2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0, 0x45, 6, 7, 8];

#[test]
fn elements_come_and_go() {
    for w in World::both() {
        for t in [MapType::Hash, MapType::LruHash] {
            let m = w.map(t, 4, 8, 16);
            assert_eq!(w.lookup(m, &[1, 0, 0, 0], 8), Err(-errno::ENOENT));
            assert_eq!(w.update(m, &[1, 0, 0, 0], &[5; 8]), 0);
            assert_eq!(w.lookup(m, &[1, 0, 0, 0], 8), Ok(vec![5; 8]));
            let key = w.put(&[1, 0, 0, 0]);
            let next = w.alloc(4);
            let call =
                |op, arg: [u64; 4]| w.call(op, [m.into(), arg[0], arg[1], arg[2], arg[3], 0, 0]);
            assert_eq!(call(code::MAP_NEXT_KEY, [NO_KEY, next, 0, 0]).status, 0);
            assert_eq!(w.get(next, 4), [1, 0, 0, 0]);
            assert_eq!(
                call(code::MAP_NEXT_KEY, [key, next, 0, 0]).status,
                -errno::ENOENT
            );
            assert_eq!(call(code::MAP_DELETE, [key, 0, 0, 0]).status, 0);
            assert_eq!(
                call(code::MAP_DELETE, [key, 0, 0, 0]).status,
                -errno::ENOENT
            );
        }
    }
}

#[test]
fn a_frozen_map_takes_no_writes_from_the_host() {
    for w in World::both() {
        let m = w.map(MapType::Array, 4, 8, 1);
        assert_eq!(
            w.call(code::MAP_FREEZE, [m.into(), 0, 0, 0, 0, 0, 0])
                .status,
            0
        );
        assert_eq!(
            w.call(code::MAP_FREEZE, [m.into(), 0, 0, 0, 0, 0, 0])
                .status,
            -errno::EBUSY
        );
        assert_eq!(w.update(m, &[0; 4], &[1; 8]), -errno::EPERM);
        assert_eq!(w.lookup(m, &[0; 4], 8), Ok(vec![0; 8]));
    }
}

#[test]
fn a_program_counts_in_a_hash() {
    for w in World::both() {
        let m = w.map(MapType::Hash, 4, 8, 16);
        let p = w.load(
            ProgType::Xdp,
            &format!(
                "*(u32 *)(r10 -4) = 7\n r2 = r10\n r2 += -4\n r1 = map[id:{m}]\n call 1
             if r0 != 0 goto +11\n *(u64 *)(r10 -16) = 1\n r1 = map[id:{m}]\n r2 = r10\n r2 += -4
             r3 = r10\n r3 += -16\n r4 = 0\n call 2\n r0 = 1\n exit
             r1 = *(u64 *)(r0 +0)\n r1 += 1\n *(u64 *)(r0 +0) = r1\n r0 = 2\n exit"
            ),
        );
        assert_eq!(w.run(p, &FRAME).unwrap().0, 1);
        assert_eq!(w.run(p, &FRAME).unwrap().0, 2);
        assert_eq!(w.run(p, &FRAME).unwrap().0, 2);
        assert_eq!(
            w.lookup(m, &[7, 0, 0, 0], 8),
            Ok(vec![3, 0, 0, 0, 0, 0, 0, 0])
        );
    }
}

#[test]
fn per_cpu_values_are_all_seen_by_the_host() {
    for w in World::both() {
        let m = w.map(MapType::PercpuArray, 4, 4, 2);
        let p = w.load(
            ProgType::Xdp,
            &format!(
                "*(u32 *)(r10 -4) = 1\n r2 = r10\n r2 += -4\n r1 = map[id:{m}]\n call 1
             if r0 == 0 goto +1\n *(u32 *)(r0 +0) = 9\n r0 = 0\n exit"
            ),
        );
        w.run(p, &FRAME).unwrap();
        assert_eq!(w.lookup(m, &[1, 0, 0, 0], 16).unwrap()[..4], [9, 0, 0, 0]);
        assert_eq!(w.lookup(m, &[1, 0, 0, 0], 16).unwrap()[4..], [0; 12]);
    }
}

#[test]
fn a_tail_call_goes_where_the_array_says() {
    for w in World::both() {
        let array = w.map(MapType::ProgArray, 4, 4, 2);
        let target = w.load(ProgType::Xdp, "r0 = 42\n exit");
        let p = w.load(
            ProgType::Xdp,
            &format!("r2 = map[id:{array}]\n r3 = 1\n call 12\n r0 = 1\n exit"),
        );
        assert_eq!(w.run(p, &FRAME).unwrap().0, 1);
        assert_eq!(w.update(array, &[1, 0, 0, 0], &target.to_le_bytes()), 0);
        assert_eq!(w.run(p, &FRAME).unwrap().0, 42);
        // The array keeps its program.
        w.call(code::PROG_UNLOAD, [target.into(), 0, 0, 0, 0, 0, 0]);
        assert_eq!(w.run(p, &FRAME).unwrap().0, 42);
        let key = w.put(&[1, 0, 0, 0]);
        assert_eq!(
            w.call(code::MAP_DELETE, [array.into(), key, 0, 0, 0, 0, 0])
                .status,
            0
        );
        assert_eq!(w.run(p, &FRAME).unwrap().0, 1);
        assert_eq!(
            w.update(array, &[0; 4], &77u32.to_le_bytes()),
            -errno::EBADF
        );
    }
}

#[test]
fn tail_calls_end_after_33() {
    for w in World::both() {
        let array = w.map(MapType::ProgArray, 4, 4, 1);
        let count = w.map(MapType::Array, 4, 8, 1);
        let p = w.load(
        ProgType::Xdp,
        &format!(
            "r6 = r1\n r2 = map[id:{count}][0]+0\n r3 = *(u64 *)(r2 +0)\n r3 += 1
             *(u64 *)(r2 +0) = r3\n r1 = r6\n r2 = map[id:{array}]\n r3 = 0\n call 12\n r0 = 5\n exit"
        ),
    );
        w.update(array, &[0; 4], &p.to_le_bytes());
        assert_eq!(w.run(p, &FRAME).unwrap().0, 5);
        assert_eq!(w.lookup(count, &[0; 4], 8).unwrap()[0], 34);
    }
}

#[test]
fn an_inner_map_is_found_through_the_outer() {
    for w in World::both() {
        let inner = w.map(MapType::Array, 4, 8, 1);
        let outer = w.map_with(MapType::ArrayOfMaps, 4, 4, 2, |r| r.inner = inner);
        let p = w.load(
            ProgType::Xdp,
            &format!(
                "*(u32 *)(r10 -4) = 1\n r2 = r10\n r2 += -4\n r1 = map[id:{outer}]\n call 1
             if r0 == 0 goto +8\n *(u32 *)(r10 -4) = 0\n r1 = r0\n r2 = r10\n r2 += -4\n call 1
             if r0 == 0 goto +2\n r0 = *(u64 *)(r0 +0)\n exit\n r0 = 1000\n exit"
            ),
        );
        assert_eq!(w.run(p, &FRAME).unwrap().0, 1000);
        w.update(inner, &[0; 4], &[77, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(w.update(outer, &[1, 0, 0, 0], &inner.to_le_bytes()), 0);
        assert_eq!(w.run(p, &FRAME).unwrap().0, 77);
    }
}

#[test]
fn a_batch_of_updates_counts_what_it_did() {
    for w in World::both() {
        let m = w.map(MapType::Array, 4, 4, 4);
        let keys: Vec<u8> = [0u32, 1, 9, 2]
            .iter()
            .flat_map(|k| k.to_le_bytes())
            .collect();
        let (k, v) = (w.put(&keys), w.put(&[3; 16]));
        let c = w.call(code::MAP_BATCH, [m.into(), batch::UPDATE, k, v, 4, 0, 0]);
        assert_eq!((c.status, c.val[0]), (-errno::E2BIG, 2));
        let (k, v) = (w.alloc(64), w.alloc(64));
        let c = w.call(code::MAP_BATCH, [m.into(), batch::LOOKUP, k, v, 4, 0, 0]);
        assert_eq!((c.status, c.val[0]), (0, 4));
        assert_eq!(
            w.get(v, 16),
            [3, 3, 3, 3, 3, 3, 3, 3, 0, 0, 0, 0, 0, 0, 0, 0]
        );
    }
}

#[test]
fn constants_of_a_frozen_map_are_known_to_the_verifier() {
    for w in World::both() {
        let m = w.map_with(MapType::Array, 4, 8, 1, |r| {
            r.flags = map_flags::RDONLY_PROG
        });
        w.update(m, &[0; 4], &[4, 0, 0, 0, 0, 0, 0, 0]);
        let text = format!(
            "r1 = map[id:{m}][0]+0\n r2 = *(u64 *)(r1 +0)\n r0 = 0
         if r2 == 4 goto +1\n *(u64 *)(r10 +8) = 1\n exit"
        );
        assert_ne!(w.try_load(ProgType::Xdp, &text, |_| ()).0, 0);
        w.call(code::MAP_FREEZE, [m.into(), 0, 0, 0, 0, 0, 0]);
        w.load(ProgType::Xdp, &text);
    }
}

#[test]
fn a_freed_map_stays_for_the_programs_that_use_it() {
    for w in World::both() {
        let m = w.map(MapType::Array, 4, 8, 1);
        let p = w.load(
            ProgType::Xdp,
            &format!("r1 = map[id:{m}][0]+0\n r0 = *(u64 *)(r1 +0)\n exit"),
        );
        w.update(m, &[0; 4], &[6, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(
            w.call(code::MAP_FREE, [m.into(), 0, 0, 0, 0, 0, 0]).status,
            0
        );
        assert_eq!(w.lookup(m, &[0; 4], 8), Err(-errno::EBADF));
        assert_eq!(w.run(p, &FRAME).unwrap().0, 6);
    }
}

#[test]
fn a_program_array_takes_programs_of_one_type() {
    for w in World::both() {
        let array = w.map(MapType::ProgArray, 4, 4, 2);
        let xdp = w.load(ProgType::Xdp, "r0 = 1\n exit");
        let filter = w.load(ProgType::SocketFilter, "r0 = 1\n exit");
        assert_eq!(w.update(array, &[0; 4], &xdp.to_le_bytes()), 0);
        assert_eq!(
            w.update(array, &[1, 0, 0, 0], &filter.to_le_bytes()),
            -errno::EINVAL
        );
        let text = format!("r2 = map[id:{array}]\n r3 = 0\n call 12\n r0 = 1\n exit");
        assert_eq!(
            w.try_load(ProgType::SocketFilter, &text, |_| ()).0,
            -errno::EINVAL
        );
        w.load(ProgType::Xdp, &text);
    }
}

#[test]
fn an_inner_map_must_be_like_the_template() {
    for w in World::both() {
        let template = w.map(MapType::Array, 4, 8, 1);
        let outer = w.map_with(MapType::ArrayOfMaps, 4, 4, 2, |r| r.inner = template);
        w.call(code::MAP_FREE, [template.into(), 0, 0, 0, 0, 0, 0]);
        let same = w.map(MapType::Array, 4, 8, 1);
        assert_eq!(w.update(outer, &[0; 4], &same.to_le_bytes()), 0);
        for (value, entries) in [(16, 1), (8, 2)] {
            let other = w.map(MapType::Array, 4, value, entries);
            assert_eq!(
                w.update(outer, &[0; 4], &other.to_le_bytes()),
                -errno::EINVAL
            );
        }
        let text = format!(
            "*(u32 *)(r10 -4) = 0\n r2 = r10\n r2 += -4\n r1 = map[id:{outer}]\n call 1
             r0 = 0\n exit"
        );
        w.load(ProgType::Xdp, &text);
    }
}

#[test]
fn a_reserved_record_is_committed_to_its_ring() {
    for w in World::both() {
        let ring = w.map(MapType::Ringbuf, 0, 0, 4096);
        let p = w.load(
            ProgType::Xdp,
            &format!(
                "r1 = map[id:{ring}]\n r2 = 8\n r3 = 0\n call 131\n if r0 == 0 goto +4
                 *(u64 *)(r0 +0) = 7\n r1 = r0\n r2 = 0\n call 132\n r1 = map[id:{ring}]\n r2 = 0
                 call 134\n exit"
            ),
        );
        assert_eq!(w.run(p, &FRAME).unwrap().0, 16);
        assert_eq!(w.run(p, &FRAME).unwrap().0, 32);
    }
}

#[test]
fn a_callback_sees_every_element() {
    for w in World::both() {
        let m = w.map(MapType::Hash, 4, 8, 8);
        for i in 1..=3u8 {
            w.update(m, &[i, 0, 0, 0], &[i, 0, 0, 0, 0, 0, 0, 0]);
        }
        let p = w.load(
            ProgType::Xdp,
            &format!(
                "*(u64 *)(r10 -8) = 0\n r1 = map[id:{m}]\n r2 = subprog[each]\n r3 = r10\n r3 += -8
                 r4 = 0\n call 164\n r1 = *(u64 *)(r10 -8)\n r0 *= 100\n r0 += r1\n exit
                 each:\n r1 = *(u64 *)(r3 +0)\n r2 = *(u64 *)(r4 +0)\n r2 += r1
                 *(u64 *)(r4 +0) = r2\n r0 = 0\n exit"
            ),
        );
        assert_eq!(w.run(p, &FRAME).unwrap().0, 306);
    }
}
