//! VLAN tags. As in Linux the outermost tag is metadata beside the packet; only
//! tags inside it are bytes of the packet.
use super::Args;
use super::skb_room::make_headroom;
use crate::env::Env;
use crate::memory::{bytes, bytes_mut, copy};
use crate::run::{set_skb_data, skb_protocol, skb_span};
use bpf_core::uapi::{errno, sk_buff as f};

const TAG: u64 = 4;
/// Bytes of the two link-layer addresses.
const ADDRESSES: u64 = 12;
const Q: u16 = 0x8100;
const AD: u16 = 0x88a8;

fn is_vlan(proto: u32) -> bool {
    matches!(u16::from_be(proto as u16), Q | AD)
}

/// `bpf_skb_vlan_push(skb, proto, tci)`.
pub fn push(env: &Env<'_>, [_, proto, tci, ..]: Args) -> Result<(), i32> {
    let proto = if is_vlan(proto as u32) {
        proto as u16
    } else {
        Q.to_be()
    };
    if env.ctx.get(f::VLAN_PRESENT) != 0 {
        insert(env)?;
    }
    set_tag(env, proto.into(), tci as u16);
    Ok(())
}

/// `bpf_skb_vlan_pop(skb)`.
pub fn pop(env: &Env<'_>, _: Args) -> Result<(), i32> {
    if env.ctx.get(f::VLAN_PRESENT) != 0 {
        env.ctx.set(f::VLAN_PRESENT, 0);
        env.ctx.set(f::VLAN_TCI, 0);
        env.ctx.set(f::VLAN_PROTO, 0);
    } else if is_vlan(env.ctx.get(f::PROTOCOL)) {
        remove(env)?;
    } else {
        return Ok(());
    }
    let proto = env.ctx.get(f::PROTOCOL);
    if is_vlan(proto) {
        let tci = remove(env)?;
        set_tag(env, proto, tci);
    }
    Ok(())
}

fn set_tag(env: &Env<'_>, proto: u32, tci: u16) {
    env.ctx.set(f::VLAN_PRESENT, 1);
    env.ctx.set(f::VLAN_TCI, tci.into());
    env.ctx.set(f::VLAN_PROTO, proto);
}

/// Turns the tag beside the packet into bytes of it.
fn insert(env: &Env<'_>) -> Result<(), i32> {
    make_headroom(env, TAG)?;
    let (data, end) = skb_span(env);
    if end - data < ADDRESSES {
        return Err(errno::ENOMEM);
    }
    let (proto, tci) = (
        env.ctx.get(f::VLAN_PROTO) as u16,
        env.ctx.get(f::VLAN_TCI) as u16,
    );
    copy(data - TAG, data, ADDRESSES);
    let [p0, p1] = proto.to_ne_bytes();
    let [t0, t1] = tci.to_be_bytes();
    bytes_mut(data - TAG + ADDRESSES, TAG).copy_from_slice(&[p0, p1, t0, t1]);
    set_skb_data(env, data - TAG, end);
    env.mac.set(env.mac.get() - TAG);
    env.network.set(env.network.get() - TAG);
    env.ctx.set(f::PROTOCOL, proto.into());
    Ok(())
}

/// Takes the first tag out of the packet and gives its control information.
fn remove(env: &Env<'_>) -> Result<u16, i32> {
    let (data, end) = skb_span(env);
    if end - data < ADDRESSES + TAG + 2 {
        return Err(errno::ENOMEM);
    }
    let word = |at: u64| {
        bytes(at, 2)
            .as_chunks::<2>()
            .0
            .first()
            .copied()
            .unwrap_or([0; 2])
    };
    let tci = u16::from_be_bytes(word(data + ADDRESSES + 2));
    copy(data + TAG, data, ADDRESSES);
    set_skb_data(env, data + TAG, end);
    env.mac.set(env.mac.get() + TAG);
    let first = env.mac.get() + ADDRESSES + 2;
    env.network.set(env.network.get().max(first));
    let inner = skb_protocol(data + TAG, (end - data - TAG) as u32);
    env.ctx.set(f::PROTOCOL, inner);
    Ok(tci)
}
