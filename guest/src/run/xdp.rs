//! XDP: `struct xdp_md` over a packet, as `bpf_prog_test_run_xdp` makes it.
use super::Kind;
use super::packet::{Bounds, ETH_HLEN, bounds, context_in, context_out, field, set_field};
use crate::env::Env;
use bpf_core::uapi::{errno, xdp_action, xdp_md as md};
use bpfvisor_abi::op::Packet;

/// The XDP context.
pub struct Xdp;

/// Interface that a packet without one comes from: the loopback device.
const LOOPBACK: u32 = 1;
/// The most metadata that Linux lets lie before a packet.
pub const META_MAX: u32 = 252;
/// The most that a caller can give: what the headroom holds beside the kernel's
/// `struct xdp_frame`.
const META_GIVEN_MAX: u32 = 216;

impl Kind for Xdp {
    const REDIRECT: Option<u32> = Some(xdp_action::REDIRECT);

    #[inline(always)]
    fn begin(env: &Env<'_>, p: &Packet) -> Result<[u64; 2], i32> {
        let b = bounds(env, p)?;
        if p.len < ETH_HLEN {
            return Err(errno::EINVAL);
        }
        env.hard_start.set(b.start);
        env.hard_end.set(b.limit);
        let ctx = &env.ctx;
        ctx.set(md::DATA, b.data as u32);
        ctx.set(md::DATA_END, b.end as u32);
        ctx.set(md::DATA_META, b.data as u32);
        ctx.set(md::INGRESS_IFINDEX, LOOPBACK);
        ctx.set(md::RX_QUEUE_INDEX, 0);
        ctx.set(md::EGRESS_IFINDEX, 0);
        if p.ctx_or_target != 0 {
            given(env, p, b)?;
        }
        Ok([ctx.address(), 0])
    }

    #[inline(always)]
    fn end(env: &Env<'_>, p: &mut Packet) -> Result<(), i32> {
        let (meta, end) = (env.ctx.get(md::DATA_META), env.ctx.get(md::DATA_END));
        p.data = meta.wrapping_sub(env.hard_start.get() as u32);
        p.len = end.wrapping_sub(meta);
        if p.ctx_or_target != 0 {
            returned(env, p)
        } else {
            Ok(())
        }
    }
}

/// Addresses of the data's first byte and one past its last.
pub fn span(env: &Env<'_>) -> (u64, u64) {
    let field = |f| u64::from(env.ctx.get(f));
    (field(md::DATA), field(md::DATA_END))
}

/// Takes over the caller's context. Its `data` says how much of the data is
/// metadata; its `data_end` where the kernel would end the linear part, which here
/// is always the whole packet.
#[cold]
fn given(env: &Env<'_>, p: &Packet, b: Bounds) -> Result<(), i32> {
    let c = context_in::<{ md::SIZE as usize }>(env, p)?;
    let (meta, end) = (field(&c, md::DATA), field(&c, md::DATA_END));
    let sound = field(&c, md::DATA_META) == 0
        && end <= p.len
        && meta <= end
        && p.len - meta >= ETH_HLEN
        && meta.is_multiple_of(4)
        && meta <= META_GIVEN_MAX
        && field(&c, md::EGRESS_IFINDEX) == 0;
    let (ifindex, queue) = (
        field(&c, md::INGRESS_IFINDEX),
        field(&c, md::RX_QUEUE_INDEX),
    );
    // The loopback device has one queue; other devices are the caller's idea.
    if !sound || (ifindex <= LOOPBACK && queue != 0) {
        return Err(errno::EINVAL);
    }
    env.ctx.set(md::DATA, b.data as u32 + meta);
    if ifindex != 0 {
        env.ctx.set(md::INGRESS_IFINDEX, ifindex);
        env.ctx.set(md::RX_QUEUE_INDEX, queue);
    }
    Ok(())
}

#[cold]
fn returned(env: &Env<'_>, p: &Packet) -> Result<(), i32> {
    let mut c = context_in::<{ md::SIZE as usize }>(env, p)?;
    let meta = env.ctx.get(md::DATA_META);
    set_field(&mut c, md::DATA, env.ctx.get(md::DATA).wrapping_sub(meta));
    set_field(&mut c, md::DATA_END, p.len);
    context_out(env, p, &c)
}
