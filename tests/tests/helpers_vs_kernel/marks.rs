//! Marks on a packet, and helpers that ask for what a packet does not have.

use crate::duel::Duel;
use crate::packets::{BEGIN, IN, frame, store_fields, udp, vlan, words};
use bpf_core::uapi::{ProgType, sk_buff as f};

fn packets() -> [(&'static str, Vec<u8>); 4] {
    [
        ("v4", udp(4, 60)),
        ("v6", udp(6, 80)),
        ("vlan", vlan(70)),
        ("arp", frame(0x0806, 42)),
    ]
}

/// The second byte of the network header has the mark (and, in IPv4, a checksum
/// that follows it).
#[test]
fn congestion() {
    let duel = Duel::new();
    let text = format!(
        "{BEGIN}r1 = r6\nr2 = 15\nr3 = r8\nr4 = 1\nr5 = 0\ncall bpf_skb_store_bytes\n\
         r1 = r6\ncall bpf_skb_ecn_set_ce\n*(u64 *)(r9 +0) = r0\n\
         r1 = r6\ncall bpf_skb_ecn_set_ce\n*(u64 *)(r9 +8) = r0\nr0 = 0\nexit\n"
    );
    let program = duel.load("ecn", ProgType::SchedCls, &[IN], &text);
    for mark in (0..=255u64).step_by(5).chain(0..64) {
        program.set("in", &[0; 4], &words(&[mark]));
        for (what, data) in packets() {
            program.run(&format!("{mark:#x} on {what}"), &data, &[]);
        }
    }
    duel.finish(400);
}

#[test]
fn times_of_delivery() {
    let duel = Duel::new();
    let shown = store_fields(&[(f::TSTAMP, 8), (f::TSTAMP_TYPE, 1)], 512);
    let text = format!(
        "{BEGIN}r1 = r6\nr2 = *(u64 *)(r8 +0)\nr3 = *(u64 *)(r8 +8)\n\
         call bpf_skb_set_tstamp\n*(u64 *)(r9 +0) = r0\n{shown}r0 = 0\nexit\n"
    );
    let program = duel.load("tstamp", ProgType::SchedCls, &[IN], &text);
    for time in [0, 1, 0x1_0000_0005] {
        for clock in [0, 1, 2, 3, u64::MAX] {
            program.set("in", &[0; 4], &words(&[time, clock]));
            for (what, data) in packets() {
                program.run(&format!("{time} of {clock} on {what}"), &data, &[]);
            }
        }
    }
    duel.finish(60);
}

/// 64 bytes of noise on the stack go in, what is left of them comes out.
#[test]
fn tunnels_and_states() {
    let duel = Duel::new();
    let calls = [
        "r4 = 0\ncall bpf_skb_get_tunnel_key",
        "r4 = 1\ncall bpf_skb_get_tunnel_key",
        "call bpf_skb_get_tunnel_opt",
        "call bpf_skb_set_tunnel_opt",
        "r4 = 0\ncall bpf_skb_set_tunnel_key",
        "r4 = 0x40\ncall bpf_skb_set_tunnel_key",
        "r4 = r3\nr3 = r2\nr2 = 0\nr5 = 0\ncall bpf_skb_get_xfrm_state",
        "call bpf_get_route_realm",
        "call bpf_get_cgroup_classid",
    ];
    for call in calls {
        for size in [1, 8, 12, 22, 24, 28, 43, 44, 64] {
            let mut text = BEGIN.to_string();
            for word in 1..=8 {
                // Neither `tunnel_ext` nor a label without IPv6.
                let noise = if word == 6 { 0 } else { 0x1111_0000 + word };
                text += &format!("*(u64 *)(r10 -{}) = {noise}\n", word * 8);
            }
            text += &format!(
                "r1 = r6\nr2 = r10\nr2 += -64\nr3 = {size}\n{call}\n*(u64 *)(r9 +0) = r0\n"
            );
            for word in 1..=8 {
                text += &format!(
                    "r1 = *(u64 *)(r10 -{})\n*(u64 *)(r9 +{}) = r1\n",
                    word * 8,
                    word * 8
                );
            }
            text += "r0 = 0\nexit\n";
            let name = format!("{} {size}", call.replace('\n', "; "));
            let program = duel.load(&name, ProgType::SchedCls, &[IN], &text);
            program.run("v4", &udp(4, 60), &[]);
        }
    }
    duel.finish(81);
}
