//! Ring buffers and perf events: streams to the host.
use super::Args;
use crate::env::Env;
use crate::memory::{self, bytes};
use crate::run::{skb_span, xdp_span};
use bpf_core::uapi::{ProgType, errno};

/// `BPF_F_INDEX_MASK`, and the value in it that means the own CPU.
const INDEX: u64 = 0xffff_ffff;
/// `BPF_F_CTXLEN_MASK`.
const CTXLEN: u64 = 0xf_ffff << 32;

/// `bpf_ringbuf_output(ringbuf, data, size, flags)`.
pub fn output(env: &Env<'_>, [map, data, size, flags, _]: Args) -> Result<(), i32> {
    let m = memory::map(map);
    let wake = m.map.output(bytes(data, size), flags);
    if wake.map_err(|e| e.errno)? {
        env.rt.wake_consumer(m);
    }
    Ok(())
}

/// `bpf_ringbuf_reserve(ringbuf, size, flags)`: null where there is no room.
pub fn reserve(env: &Env<'_>, [map, size, flags, ..]: Args) -> u64 {
    if flags != 0 {
        return 0;
    }
    let Some(at) = memory::map(map).map.reserve(size) else {
        return 0;
    };
    if let Some(v) = env.rt.vcpu(env.vcpu) {
        v.reserved.lock().push((at, map));
    }
    at
}

/// `bpf_ringbuf_submit(data, flags)`.
pub fn submit(env: &Env<'_>, [at, flags, ..]: Args) -> u64 {
    commit(env, at, flags, false)
}

/// `bpf_ringbuf_discard(data, flags)`.
pub fn discard(env: &Env<'_>, [at, flags, ..]: Args) -> u64 {
    commit(env, at, flags, true)
}

fn commit(env: &Env<'_>, at: u64, flags: u64, discard: bool) -> u64 {
    let Some(v) = env.rt.vcpu(env.vcpu) else {
        return 0;
    };
    let mut reserved = v.reserved.lock();
    if let Some(i) = reserved.iter().rposition(|r| r.0 == at) {
        let (_, map) = reserved.swap_remove(i);
        let m = memory::map(map);
        // Neither function returns anything to the program.
        if m.map.commit(at, flags, discard) == Ok(true) {
            env.rt.wake_consumer(m);
        }
    }
    0
}

/// `bpf_ringbuf_query(ringbuf, flags)`.
pub fn query(_env: &Env<'_>, [map, what, ..]: Args) -> u64 {
    memory::map(map).map.query(what)
}

/// `bpf_perf_event_output(ctx, map, flags, data, size)`: a record in the ring
/// buffer that the map's slot names, with as many bytes of the packet behind it as
/// the flags say.
pub fn perf_event_output(env: &Env<'_>, [_, map, flags, data, size]: Args) -> Result<(), i32> {
    if flags & !(INDEX | CTXLEN) != 0 {
        return Err(errno::EINVAL);
    }
    let packet = packet(env, (flags & CTXLEN) >> 32)?;
    let index = match flags & INDEX {
        INDEX => env.vcpu,
        i => i as u32,
    };
    let slots = memory::map(map);
    if index >= slots.map.geometry().max_entries {
        return Err(errno::E2BIG);
    }
    let ring = slots.map.lookup_handle(&index.to_ne_bytes());
    let ring = ring.and_then(|h| env.rt.objects.map(h));
    let ring = ring.ok_or(errno::ENOENT)?;
    match ring.map.output_with(bytes(data, size), packet, 0) {
        Ok(true) => env.rt.wake_consumer(ring),
        Ok(false) => {}
        Err(e) if e.errno == errno::EAGAIN => return Err(errno::ENOSPC),
        Err(e) => return Err(e.errno),
    }
    Ok(())
}

/// The packet's first `len` bytes; EFAULT where it is shorter.
fn packet<'a>(env: &Env<'_>, len: u64) -> Result<&'a [u8], i32> {
    if len == 0 {
        return Ok(&[]);
    }
    let (data, end) = match env.prog.prog_type {
        ProgType::Xdp => xdp_span(env),
        _ => skb_span(env),
    };
    match len <= end - data {
        true => Ok(bytes(data, len)),
        false => Err(errno::EFAULT),
    }
}
