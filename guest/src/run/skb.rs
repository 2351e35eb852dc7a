//! `struct __sk_buff` over a packet, as `bpf_prog_test_run_skb` makes it.
//!
//! Linux takes the Ethernet header off every packet, as if it had been received,
//! and gives it back only to the types that work at the link layer (`L2`). The
//! other types' output has zeros in its place.
use super::Kind;
use super::packet::{ETH_HLEN, bounds, context_in, context_out, field, set_field};
use crate::env::Env;
use crate::memory;
use bpf_core::uapi::{ProgType, errno, sk_buff as f, tc_action};
use bpfvisor_abi::op::Packet;

/// The `__sk_buff` context.
pub struct Skb<const L2: bool>;

const LOOPBACK: u32 = 1;
const AF_INET: u32 = 2;
const AF_INET6: u32 = 10;
/// `GSO_LEGACY_MAX_SIZE` and `GSO_MAX_SEGS`.
const GSO_SIZE_MAX: u32 = 65536;
const GSO_SEGS_MAX: u32 = 65535;
/// Fields that a caller may give: (begin, end).
const GIVEN: [(u32, u32); 6] = [
    (f::MARK, f::QUEUE_MAPPING),
    (f::PRIORITY, f::TC_INDEX),
    (f::CB, f::HASH),
    (f::TSTAMP, f::SK),
    (f::GSO_SIZE, f::TSTAMP_TYPE),
    (f::HWTSTAMP, f::SIZE),
];
/// What goes back to the caller: (begin, end).
const RETURNED: [(u32, u32); 5] = [
    (f::MARK, f::QUEUE_MAPPING),
    (f::PRIORITY, f::TC_INDEX),
    (f::CB, f::HASH),
    (f::TSTAMP, f::SK),
    (f::HWTSTAMP, f::SIZE),
];

impl<const L2: bool> Kind for Skb<L2> {
    /// `BPF_REDIRECT` of tunnels is the same number; programs of the other types
    /// can't choose a target.
    const REDIRECT: Option<u32> = Some(tc_action::REDIRECT);

    #[inline(always)]
    fn begin(env: &Env<'_>, p: &Packet) -> Result<[u64; 2], i32> {
        let b = bounds(env, p)?;
        if p.len < ETH_HLEN {
            return Err(errno::EINVAL);
        }
        let protocol = protocol(b.data, p.len);
        if p.len - ETH_HLEN < shortest_payload(protocol) {
            return Err(errno::EINVAL);
        }
        env.hard_start.set(b.start);
        env.hard_end.set(b.limit);
        env.mac.set(b.data);
        env.network.set(b.data + u64::from(ETH_HLEN));
        env.hashed.set(false);
        env.csum_level.set(None);
        env.encapsulated.set(false);
        let ctx = &env.ctx;
        ctx.clear();
        ctx.set(f::PKT_TYPE, packet_type(b.data));
        ctx.set(f::PROTOCOL, protocol);
        ctx.set(f::IFINDEX, LOOPBACK);
        let data = if L2 { b.data } else { env.network.get() };
        set_data(env, data, b.end);
        if env.prog.prog_type == ProgType::CgroupSkb {
            socket(env, protocol);
        }
        if p.ctx_or_target != 0 {
            given(env, p)?;
        }
        Ok([ctx.address(), 0])
    }

    #[inline(always)]
    fn end(env: &Env<'_>, p: &mut Packet) -> Result<(), i32> {
        let (mut data, end) = span(env);
        if !L2 {
            data = data.wrapping_sub(ETH_HLEN.into());
            if data >= env.hard_start.get() {
                memory::bytes_mut(data, ETH_HLEN.into()).fill(0);
            }
        }
        p.data = data.wrapping_sub(env.hard_start.get()) as u32;
        p.len = end.wrapping_sub(data) as u32;
        if p.ctx_or_target != 0 {
            returned(env, p)
        } else {
            Ok(())
        }
    }
}

/// The socket that `bpf_prog_test_run_skb` makes: its addresses are the packet's,
/// it has no ports. Only some types see it.
fn socket(env: &Env<'_>, protocol: u32) {
    let header = env.network.get();
    let copy = |from: u64, to: u32, words: u32| {
        for i in 0..words {
            env.ctx.set(
                to + i * 4,
                memory::load_u32(header + from + u64::from(i) * 4),
            );
        }
    };
    // Whole headers: shorter packets were refused.
    match u16::from_be(protocol as u16) {
        0x0800 => {
            env.ctx.set(f::FAMILY, AF_INET);
            copy(12, f::LOCAL_IP4, 1);
            copy(16, f::REMOTE_IP4, 1);
        }
        0x86dd => {
            env.ctx.set(f::FAMILY, AF_INET6);
            copy(8, f::LOCAL_IP6, 4);
            copy(24, f::REMOTE_IP6, 4);
        }
        _ => {}
    }
}

/// Addresses of the data's first byte and one past its last.
#[inline]
pub fn span(env: &Env<'_>) -> (u64, u64) {
    (env.ctx.get(f::DATA).into(), env.ctx.get(f::DATA_END).into())
}

/// Moves the data; every field that follows from it follows.
#[inline]
pub fn set_data(env: &Env<'_>, data: u64, end: u64) {
    env.ctx.set(f::DATA, data as u32);
    env.ctx.set(f::DATA_META, data as u32);
    env.ctx.set(f::DATA_END, end as u32);
    env.ctx.set(f::LEN, end.wrapping_sub(data) as u32);
}

/// `PACKET_HOST` for the loopback device's own address, which is all zeros, else
/// `PACKET_MULTICAST` or `PACKET_OTHERHOST`.
fn packet_type(eth: u64) -> u32 {
    let dst = memory::bytes(eth, 6);
    match dst.first() {
        Some(&b) if b & 1 != 0 => 2,
        _ if dst.iter().all(|&b| b == 0) => 0,
        _ => 3,
    }
}

/// `eth_type_trans`: the EtherType in network order, or what stands for it in
/// frames with a length.
pub fn protocol(eth: u64, len: u32) -> u32 {
    let field = |at: u64| {
        let b = memory::bytes(eth + at, 2);
        [
            b.first().copied().unwrap_or(0),
            b.get(1).copied().unwrap_or(0),
        ]
    };
    let raw = field(12);
    let order = |b: [u8; 2]| u32::from(u16::from_ne_bytes(b));
    if u16::from_be_bytes(raw) >= 0x600 {
        return order(raw);
    }
    // ETH_P_802_3 for Novell's raw 802.3, else ETH_P_802_2.
    if len >= ETH_HLEN + 2 && field(14) == [0xff, 0xff] {
        order([0, 1])
    } else {
        order([0, 4])
    }
}

/// The kernel runs over no packet that breaks off in its IP header (RFC 791's and
/// RFC 8200's fixed parts).
fn shortest_payload(protocol: u32) -> u32 {
    match u16::from_be(protocol as u16) {
        0x0800 => 20,
        0x86dd => 40,
        _ => 0,
    }
}

/// Takes over the caller's context: EINVAL for fields that can't be given.
#[cold]
fn given(env: &Env<'_>, p: &Packet) -> Result<(), i32> {
    let c = context_in::<{ f::SIZE as usize }>(env, p)?;
    let allowed = |off: usize| {
        GIVEN
            .iter()
            .any(|&(b, e)| (b as usize..e as usize).contains(&off))
    };
    if c.iter()
        .enumerate()
        .any(|(off, &b)| b != 0 && !allowed(off))
    {
        return Err(errno::EINVAL);
    }
    let len = env.ctx.get(f::LEN);
    let wire = field(&c, f::WIRE_LEN);
    if (wire != 0 && (wire < len || wire > GSO_SIZE_MAX)) || field(&c, f::GSO_SEGS) > GSO_SEGS_MAX {
        return Err(errno::EINVAL);
    }
    for (begin, end) in RETURNED {
        for off in (begin..end).step_by(4) {
            env.ctx.set(off, field(&c, off));
        }
    }
    // 16 bits wide in the kernel.
    env.ctx.set(f::GSO_SIZE, field(&c, f::GSO_SIZE) & 0xffff);
    env.ctx.set(f::IFINDEX, field(&c, f::IFINDEX).max(LOOPBACK));
    env.ctx.set(f::WIRE_LEN, if wire == 0 { len } else { wire });
    Ok(())
}

#[cold]
fn returned(env: &Env<'_>, p: &Packet) -> Result<(), i32> {
    let mut c = context_in::<{ f::SIZE as usize }>(env, p)?;
    for (begin, end) in RETURNED {
        for off in (begin..end).step_by(4) {
            set_field(&mut c, off, env.ctx.get(off));
        }
    }
    context_out(env, p, &c)
}
