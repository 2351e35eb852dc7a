//! Loading and running programs.
mod world;
use bpf_core::uapi::{ProgType, errno};
use bpfvisor_abi::boot::boot_flags;
use bpfvisor_abi::layout::queue_block;
use bpfvisor_abi::op::{Packet, code};
use bpfvisor_abi::ring::block;
use world::World;

const FRAME: [u8; 18] = [2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0, 0x45, 6, 7, 8];

#[test]
fn runs_a_flat_program_over_its_memory() {
    let w = World::new();
    let (status, rec) = w.try_load(
        ProgType::Flat,
        "r0 = *(u8 *)(r1 +1)\n *(u8 *)(r1 +0) = 9\n r0 += r2\n exit",
        |r| (r.flat_min, r.flat_max) = (2, 10),
    );
    assert_eq!(status, 0);
    assert!(rec.jited_len > 0 && rec.jited_addr != 0 && rec.xlated_insns == 4);
    assert_eq!(w.run(rec.handle, &[1, 40, 3]), Ok((43, vec![9, 40, 3])));
    assert_eq!(w.run(rec.handle, &[1]), Err(-errno::EINVAL));
    assert_eq!(w.run(rec.handle, &[1; 11]), Err(-errno::EINVAL));
}

#[test]
fn an_xdp_program_sees_its_packet() {
    for w in World::both() {
        let p = w.load(
            ProgType::Xdp,
            "r2 = *(u32 *)(r1 +0)\n r3 = *(u32 *)(r1 +4)\n r4 = r2\n r4 += 14\n r0 = 0
         if r4 > r3 goto +2\n r0 = *(u16 *)(r2 +12)\n r0 = be16 r0\n exit",
        );
        assert_eq!(w.run(p, &FRAME).unwrap().0, 0x800);
        assert_eq!(w.run(p, &FRAME[..13]), Err(-errno::EINVAL));
    }
}

#[test]
fn a_batch_runs_every_packet() {
    for w in World::both() {
        let p = w.load(
            ProgType::Xdp,
            "r2 = *(u32 *)(r1 +4)\n r0 = *(u32 *)(r1 +0)\n r2 -= r0\n r0 = r2\n exit",
        );
        let packets: Vec<Packet> = [18usize, 13, 60]
            .iter()
            .map(|&n| w.packet(&vec![0; n]))
            .collect();
        const STEP: u64 = size_of::<Packet>() as u64;
        let at = w.alloc(4096);
        for (i, p) in packets.iter().enumerate() {
            w.shared.write(at + i as u64 * STEP, *p).unwrap();
        }
        let c = w.call(code::RUN_BATCH, [p.into(), at, 3, 0, 0, 0, 0]);
        assert_eq!((c.status, c.val[0]), (0, 3));
        let done: Vec<Packet> = (0..3).map(|i| w.read(at + i * STEP)).collect();
        assert_eq!(
            done.iter().map(|d| d.status).collect::<Vec<_>>(),
            [0, -errno::EINVAL as i16, 0]
        );
        assert_eq!((done[0].retval, done[2].retval), (18, 60));
    }
}

/// A frame whose EtherType asks for no IP header.
const ARP: [u8; 18] = [2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 6, 0x45, 6, 7, 8];

#[test]
fn a_packet_that_breaks_off_in_its_ip_header_is_refused() {
    for w in World::both() {
        for kind in [ProgType::SocketFilter, ProgType::SchedCls] {
            let p = w.load(kind, "r0 = 0\n exit");
            for (ethertype, header) in [([8, 0], 20), ([0x86, 0xdd], 40)] {
                let mut whole = [ARP.as_slice(), &[0; 40]].concat();
                whole.truncate(14 + header);
                whole[12..14].copy_from_slice(&ethertype);
                assert!(w.run(p, &whole).is_ok());
                let short = &whole[..whole.len() - 1];
                assert_eq!(w.run(p, short).unwrap_err(), -errno::EINVAL);
            }
        }
    }
}

#[test]
fn a_socket_filter_works_behind_the_ethernet_header() {
    for w in World::both() {
        let p = w.load(
            ProgType::SocketFilter,
            "r6 = r1\n r7 = *(u32 *)(r1 +0)\n r0 = *(u8 *)skb[0]\n r0 <<= 8\n r0 |= r7\n exit",
        );
        let (r0, out) = w.run(p, &ARP).unwrap();
        assert_eq!(r0, 0x4504);
        assert_eq!(out, [&[0; 14][..], &ARP[14..]].concat());
    }
}

#[test]
fn an_absolute_load_beyond_the_packet_ends_the_program() {
    for w in World::both() {
        let p = w.load(
            ProgType::SocketFilter,
            "r6 = r1\n r0 = *(u32 *)skb[1]\n r0 = 7\n exit",
        );
        assert_eq!(w.run(p, &ARP).unwrap().0, 0);
        let p = w.load(
            ProgType::SocketFilter,
            "r6 = r1\n r0 = *(u32 *)skb[-2097140]\n exit",
        );
        assert_eq!(w.run(p, &ARP).unwrap().0, 0x0806_4506, "SKF_LL_OFF + 12");
    }
}

#[test]
fn repeats_go_on_with_what_was_left() {
    for w in World::both() {
        let (_, rec) = w.try_load(
            ProgType::Flat,
            "r0 = *(u8 *)(r1 +0)\n r0 += 1\n *(u8 *)(r1 +0) = r0\n exit",
            |r| r.flat_min = 1,
        );
        let (r, out) = w.run_packet(rec.handle, w.packet(&[0]), 5).unwrap();
        assert_eq!((r.r0, out), (5, vec![5]));
        assert!(r.duration_ns > 0);
    }
}

#[test]
fn a_refused_program_says_why() {
    for w in World::both() {
        let (status, rec) = w.try_load(ProgType::Xdp, "r0 = r5\n exit", |r| {
            r.log = w.alloc(4096);
            (r.log_len, r.log_level) = (4096, 1);
        });
        assert_eq!(status, -errno::EACCES);
        assert_eq!(rec.bad_insn, 0);
        assert!(rec.message_len > 0);
        let log = w.get(rec.log, rec.log_true_size as usize);
        assert!(String::from_utf8_lossy(&log).contains("R5 !read_ok"));
        assert_eq!(log.last(), Some(&0));
    }
}

#[test]
fn a_log_that_does_not_fit_is_an_error() {
    for w in World::both() {
        for (level, fixed) in [(2, false), (2 | 8, true)] {
            let at = w.put(&[0xee; 64]);
            let (status, rec) = w.try_load(ProgType::Xdp, "r0 = 1\n exit", |r| {
                (r.log, r.log_len, r.log_level) = (at, 8, level);
            });
            assert_eq!(status, -errno::ENOSPC);
            assert!(rec.log_true_size > 8);
            let log = w.get(at, 9);
            assert_eq!((log[7], log[8]), (0, 0xee), "fixed {fixed}");
        }
    }
}

#[test]
fn wrong_sizes_and_types_are_refused() {
    for w in World::both() {
        let load = |f: fn(&mut bpfvisor_abi::op::LoadRecord)| {
            w.try_load(ProgType::Xdp, "r0 = 1\n exit", f).0
        };
        assert_eq!(load(|r| r.insn_cnt = 0), -errno::E2BIG);
        assert_eq!(load(|r| r.insn_cnt = 1_000_001), -errno::E2BIG);
        assert_eq!(load(|r| r.prog_type = 77), -errno::EINVAL);
        assert_eq!(load(|r| r.insns = 1 << 30), -errno::EFAULT);
    }
}

/// An instruction that no code is made for is named when the program is loaded,
/// or, where it is interpreted, when it is met.
#[test]
fn what_can_not_be_run_is_named() {
    let text = "r0 = 1\n call 9999\n exit";
    let [compiled, interpreted] = World::both_unverified();
    let (status, rec) = compiled.try_load(ProgType::Xdp, text, |_| ());
    assert_eq!((status, rec.bad_insn), (-errno::EOPNOTSUPP, 1));
    let message = String::from_utf8_lossy(&rec.message[..rec.message_len as usize]);
    assert!(message.contains("instruction 1: call "), "{message}");

    let p = interpreted.load(ProgType::Xdp, text);
    assert_eq!(interpreted.run(p, &FRAME), Err(-errno::EFAULT));
    let q = queue_block(0);
    let head: u64 = interpreted.read(q + block::TRACE_HEAD);
    let trace = interpreted.get(q + block::TRACE, head as usize);
    let trace = String::from_utf8_lossy(&trace);
    let said = "the program was stopped: instruction 1: no helper with number 9999";
    assert!(trace.contains(said), "{trace}");
}

#[test]
fn handles_die_with_their_program() {
    for w in World::both() {
        let p = w.load(ProgType::Xdp, "r0 = 2\n exit");
        assert_eq!(
            w.call(code::PROG_UNLOAD, [p.into(), 0, 0, 0, 0, 0, 0])
                .status,
            0
        );
        assert_eq!(w.run(p, &FRAME), Err(-errno::EBADF));
        let q = w.load(ProgType::Xdp, "r0 = 3\n exit");
        assert_ne!(p, q);
        assert_eq!(w.run(p, &FRAME), Err(-errno::EBADF));
        assert_eq!(w.run(q, &FRAME).unwrap().0, 3);
    }
}

#[test]
fn code_space_is_used_again() {
    let w = World::new();
    let body = "r0 = 0x1122334455667788 ll\n".repeat(2000) + "exit";
    for _ in 0..60 {
        let (status, rec) = w.try_load(ProgType::Flat, &body, |_| ());
        assert_eq!(status, 0);
        w.call(code::PROG_UNLOAD, [rec.handle.into(), 0, 0, 0, 0, 0, 0]);
    }
}

#[test]
fn dumps_instructions_and_code() {
    let w = World::new();
    let (_, rec) = w.try_load(ProgType::Flat, "r0 = 2\n exit", |_| ());
    let buf = w.alloc(4096);
    let dump = |what| {
        w.call(
            code::PROG_DUMP,
            [rec.handle.into(), buf, 4096, what, 0, 0, 0],
        )
        .val[0]
    };
    assert_eq!(dump(0), 16);
    assert_eq!(
        w.get(buf, 16),
        [0xb7, 0, 0, 0, 2, 0, 0, 0, 0x95, 0, 0, 0, 0, 0, 0, 0]
    );
    assert_eq!(dump(1), u64::from(rec.jited_len));
    assert_eq!(dump(2), 3 * 4);
    let word = |at: usize| u32::from_le_bytes(w.get(buf + 4 * at as u64, 4).try_into().unwrap());
    assert!(word(0) < word(1) && word(1) < word(2) && word(2) <= rec.jited_len);
    assert_eq!(dump(3), 2 * 4);
    assert_eq!([word(0), word(1)], [0, 1]);
    assert_eq!(dump(4), 0);
}

#[test]
fn without_verifier_anything_well_formed_loads() {
    let w = World::with(|b| b.flags = boot_flags::VERIFIER_OFF);
    let p = w.load(ProgType::Flat, "r0 = r5\n r0 = 1\n exit");
    assert_eq!(w.run(p, &[]).unwrap().0, 1);
}

#[test]
fn a_metadata_context_moves_the_data() {
    for w in World::both() {
        let p = w.load(
            ProgType::Xdp,
            "r2 = *(u32 *)(r1 +0)\n r3 = *(u32 *)(r1 +8)\n r2 -= r3\n r0 = r2\n exit",
        );
        let mut packet = w.packet(&[0; 64]);
        let ctx: Vec<u8> = [4u32, 64, 0, 0, 0, 0]
            .iter()
            .flat_map(|v| v.to_le_bytes())
            .collect();
        packet.ctx_or_target = w.put(&ctx) as u32;
        packet.ctx_len_or_via = 24;
        let (r, out) = w.run_packet(p, packet, 1).unwrap();
        assert_eq!((r.r0, out.len()), (4, 64));
        assert_eq!(
            w.get(packet.ctx_or_target.into(), 12),
            [4, 0, 0, 0, 64, 0, 0, 0, 0, 0, 0, 0]
        );
    }
}

#[test]
#[should_panic(expected = "protocol version")]
fn a_vmm_of_another_version_is_told_so() {
    World::with(|boot| boot.version += 1);
}
