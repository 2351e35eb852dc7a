//! Ring buffers and perf events: streams to the host.
use super::Args;
use crate::env::Env;
use crate::memory::{self, bytes};
use bpf_core::uapi::errno;

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

/// `bpf_perf_event_output(ctx, map, flags, data, size)`: as where no event is
/// attached to the slot.
pub fn perf_event_output(env: &Env<'_>, [_, map, flags, ..]: Args) -> Result<(), i32> {
    if flags & !(INDEX | CTXLEN) != 0 {
        return Err(errno::EINVAL);
    }
    let index = match flags & INDEX {
        INDEX => env.vcpu.into(),
        i => i,
    };
    let capacity = memory::map(map).map.geometry().max_entries;
    if index >= u64::from(capacity) {
        Err(errno::E2BIG)
    } else {
        Err(errno::ENOENT)
    }
}
