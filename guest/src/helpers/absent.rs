//! What a VM does not have: sockets, tasks, control groups, tunnels, interfaces
//! of its own, a kernel's memory. Each helper answers as Linux does for a packet
//! without that property (`net/core/filter.c`, `kernel/bpf/helpers.c`).
use super::Args;
use crate::env::Env;
use crate::memory::{self, bytes_mut};
use bpf_core::uapi::{ProgType, errno};

/// Nothing there: 0, or a null pointer.
pub fn none(_: &Env<'_>, _: Args) -> u64 {
    0
}

/// Something asked for that can't be: EINVAL.
pub fn invalid(_: &Env<'_>, _: Args) -> Result<(), i32> {
    Err(errno::EINVAL)
}

/// Programs that are verified but never run come here.
pub fn not_run(_: &Env<'_>, _: Args) -> Result<(), i32> {
    Err(errno::EOPNOTSUPP)
}

/// `bpf_get_current_comm(buf, size)`, and others whose buffer is R1: zeros.
pub fn no_text(_: &Env<'_>, [buf, size, ..]: Args) -> Result<(), i32> {
    bytes_mut(buf, size).fill(0);
    Err(errno::EINVAL)
}

/// `bpf_probe_read_kernel(to, size, from)` and its kin: no such memory.
pub fn no_memory(_: &Env<'_>, [to, size, ..]: Args) -> Result<(), i32> {
    bytes_mut(to, size).fill(0);
    Err(errno::EFAULT)
}

/// `bpf_get_ns_current_pid_tgid(dev, ino, nsdata, size)`.
pub fn no_task(_: &Env<'_>, [_, _, to, size, _]: Args) -> Result<(), i32> {
    bytes_mut(to, size).fill(0);
    Err(errno::EINVAL)
}

/// `bpf_send_signal(sig)`: nobody to send it to.
pub fn no_process(_: &Env<'_>, _: Args) -> Result<(), i32> {
    Err(errno::EPERM)
}

/// `bpf_get_branch_snapshot(entries, size)`: no such hardware.
pub fn no_hardware(_: &Env<'_>, _: Args) -> Result<(), i32> {
    Err(errno::ENOENT)
}

/// `bpf_get_socket_uid(skb)`: `overflowuid`, where there is no socket.
pub fn socket_uid(_: &Env<'_>, _: Args) -> u64 {
    65534
}

/// `bpf_get_netns_cookie(ctx)`: of the first network namespace.
pub fn netns_cookie(_: &Env<'_>, _: Args) -> u64 {
    1
}

/// `bpf_skb_get_tunnel_key(skb, key, size, flags)`: the packet came through none.
pub fn tunnel_key(_: &Env<'_>, [_, key, size, ..]: Args) -> Result<(), i32> {
    bytes_mut(key, size).fill(0);
    Err(errno::EINVAL)
}

/// `bpf_skb_get_tunnel_opt(skb, opt, size)`.
pub fn tunnel_options(_: &Env<'_>, [_, to, size, ..]: Args) -> Result<(), i32> {
    bytes_mut(to, size).fill(0);
    Err(errno::ENOENT)
}

/// `bpf_skb_get_xfrm_state(skb, index, state, size, flags)`.
pub fn xfrm_state(_: &Env<'_>, [_, _, state, size, _]: Args) -> Result<(), i32> {
    bytes_mut(state, size).fill(0);
    Err(errno::EINVAL)
}

/// `bpf_perf_event_read_value(map, flags, buf, size)`: no counters.
pub fn counter(_: &Env<'_>, [map, flags, buf, size, _]: Args) -> Result<(), i32> {
    bytes_mut(buf, size).fill(0);
    // struct bpf_perf_event_value
    if size != 24 {
        return Err(errno::EINVAL);
    }
    no_counter(map, flags)
}

/// `bpf_perf_event_read(map, flags)`.
pub fn old_counter(_: &Env<'_>, [map, flags, ..]: Args) -> Result<(), i32> {
    no_counter(map, flags)
}

fn no_counter(map: u64, flags: u64) -> Result<(), i32> {
    const INDEX: u64 = 0xffff_ffff;
    let most = u64::from(memory::map(map).map.geometry().max_entries);
    match flags & INDEX {
        _ if flags & !INDEX != 0 => Err(errno::EINVAL),
        index if index != INDEX && index >= most => Err(errno::E2BIG),
        _ => Err(errno::ENOENT),
    }
}

/// `bpf_fib_lookup(ctx, params, size, flags)`: there are no interfaces.
pub fn route(_: &Env<'_>, [_, _, size, flags, _]: Args) -> Result<(), i32> {
    // struct bpf_fib_lookup; BPF_FIB_LOOKUP_DIRECT to BPF_FIB_LOOKUP_MARK.
    match size < 64 || flags & !0x3f != 0 {
        true => Err(errno::EINVAL),
        false => Err(errno::ENODEV),
    }
}

/// `bpf_check_mtu(ctx, ifindex, mtu_len, len_diff, flags)`: there are no
/// interfaces.
pub fn mtu(env: &Env<'_>, [_, _, _, _, flags]: Args) -> Result<(), i32> {
    // BPF_MTU_CHK_SEGS, of packets that can be segmented.
    let known = match env.prog.prog_type {
        ProgType::Xdp => 0,
        _ => 1,
    };
    match flags & !known != 0 {
        true => Err(errno::EINVAL),
        false => Err(errno::ENODEV),
    }
}
