//! Running programs: one packet often, or many packets once.
mod enter;
mod flat;
mod interpret;
mod packet;
mod skb;
mod xdp;

pub use enter::call;
pub use interpret::Bridge;
pub use packet::ETH_HLEN;
pub use skb::{protocol as skb_protocol, set_data as set_skb_data, span as skb_span};
pub use xdp::{META_MAX, span as xdp_span};

use crate::dispatch::{Answer, Call};
use crate::env::{Env, Redirect};
use crate::memory;
use crate::program::Prog;
use bpf_core::uapi::{ProgType, errno};
use bpfvisor_abi::op::{Packet, Run, RunResult, run_flags};
use bpfvisor_abi::ring::Phase;

/// How a program type sees a packet.
trait Kind {
    /// The verdict that sends a packet to where a helper said.
    const REDIRECT: Option<u32>;

    /// Makes the context of a packet and gives R1 and R2. EINVAL for one that the
    /// type does not take, EFAULT where it is not in the shared slot.
    fn begin(env: &Env<'_>, packet: &Packet) -> Result<[u64; 2], i32>;

    /// Says in `packet` what became of it.
    fn end(env: &Env<'_>, packet: &mut Packet) -> Result<(), i32>;
}

/// `RUN`: `BPF_PROG_TEST_RUN`. Repeats go on with what the run before left.
pub fn single(c: &Call<'_>) -> Answer {
    let run: Run = zerocopy::transmute!(c.arg);
    let prog = c.rt.objects.prog(run.prog).ok_or(errno::EBADF)?;
    use ProgType::*;
    match prog.prog_type {
        Flat => single_of::<flat::Flat>(c, prog, run),
        Xdp => single_of::<xdp::Xdp>(c, prog, run),
        SchedCls | SchedAct => single_of::<skb::Skb<true>>(c, prog, run),
        SocketFilter | CgroupSkb | LwtIn | LwtOut | LwtXmit => {
            single_of::<skb::Skb<false>>(c, prog, run)
        }
        _ => Err(errno::ENOTSUPP),
    }
}

fn single_of<K: Kind>(c: &Call<'_>, prog: &Prog, mut run: Run) -> Answer {
    let env = Env::new(c.rt, prog, c.vcpu);
    let [r1, r2] = K::begin(&env, &run.packet)?;
    let timed = run.flags & run_flags::TIMED != 0;
    let start = if timed { c.rt.clock.now() } else { 0 };
    let mut r0 = Ok(0);
    c.rt.set_phase(c.vcpu, Phase::Program);
    for _ in 0..run.repeat.max(1) {
        r0 = enter::run(&env, prog, r1, r2);
    }
    c.rt.set_phase(c.vcpu, Phase::Runtime);
    let duration_ns = if timed {
        c.rt.clock.now().wrapping_sub(start)
    } else {
        0
    };
    let r0 = r0?;
    K::end(&env, &mut run.packet)?;
    let Packet { data, len, .. } = run.packet;
    let Redirect { target, via, how } = redirected::<K>(&env, r0 as u32);
    let result = RunResult {
        r0,
        duration_ns,
        data,
        len,
        target,
        via,
        redirect: how,
        pad: [0; 11],
    };
    Ok(zerocopy::transmute!(result))
}

/// `RUN_BATCH`: every packet once. A packet that can't be run says so in its
/// `status`. val: packets, time of all (`TIMED`).
pub fn batch(c: &Call<'_>) -> Answer {
    let prog = c.rt.objects.prog(c.arg[0] as u32).ok_or(errno::EBADF)?;
    use ProgType::*;
    match prog.prog_type {
        Flat => batch_of::<flat::Flat>(c, prog),
        Xdp => batch_of::<xdp::Xdp>(c, prog),
        SchedCls | SchedAct => batch_of::<skb::Skb<true>>(c, prog),
        SocketFilter | CgroupSkb | LwtIn | LwtOut | LwtXmit => batch_of::<skb::Skb<false>>(c, prog),
        _ => Err(errno::ENOTSUPP),
    }
}

fn batch_of<K: Kind>(c: &Call<'_>, prog: &Prog) -> Answer {
    const STEP: u64 = size_of::<Packet>() as u64;
    let [_, first, count, flags, ..] = c.arg;
    let count = u32::try_from(count).map_err(|_| errno::EINVAL)?;
    let shared = c.rt.shared;
    shared
        .addr(first, u64::from(count) * STEP)
        .ok_or(errno::EFAULT)?;
    let env = Env::new(c.rt, prog, c.vcpu);
    let timed = flags & u64::from(run_flags::TIMED) != 0;
    let start = if timed { c.rt.clock.now() } else { 0 };
    c.rt.set_phase(c.vcpu, Phase::Program);
    let read = |i: u64| shared.read::<Packet>(first + i * STEP);
    let mut next = read(0);
    for i in 0..u64::from(count) {
        let Some(mut packet) = next else { break };
        next = read(i + 1);
        if let Some(next) = &next {
            let data = u64::from(next.off) + u64::from(next.data);
            memory::prefetch(shared.addr(data, 0).unwrap_or(0));
        }
        packet.status = match one::<K>(&env, prog, &mut packet) {
            Ok(()) => 0,
            Err(e) => -e as i16,
        };
        shared.write(first + i * STEP, packet);
    }
    c.rt.set_phase(c.vcpu, Phase::Runtime);
    let took = if timed {
        c.rt.clock.now().wrapping_sub(start)
    } else {
        0
    };
    Ok([count.into(), took, 0, 0, 0, 0, 0])
}

#[inline(always)]
fn one<K: Kind>(env: &Env<'_>, prog: &Prog, packet: &mut Packet) -> Result<(), i32> {
    let [r1, r2] = K::begin(env, packet)?;
    packet.retval = enter::run(env, prog, r1, r2)? as u32;
    K::end(env, packet)?;
    let chosen = redirected::<K>(env, packet.retval);
    (packet.redirect, packet.ctx_or_target, packet.ctx_len_or_via) =
        (chosen.how, chosen.target, chosen.via);
    Ok(())
}

/// Where a packet is to go, if its verdict is to send it on.
#[inline(always)]
fn redirected<K: Kind>(env: &Env<'_>, verdict: u32) -> Redirect {
    match K::REDIRECT {
        Some(redirect) if redirect == verdict => env.redirect.get(),
        _ => Redirect::default(),
    }
}
