//! Helpers that call back into the program.
//!
//! While a callback runs the watchdog may abandon the helper's frame, so nothing
//! here holds a lock or memory across the call.
use super::Args;
use crate::env::Env;
use crate::memory;
use crate::run::call;
use bpf_core::map::Cursor;
use bpf_core::uapi::{errno, limits};

/// `bpf_loop(nr_loops, callback, ctx, flags)`: rounds made. A callback that
/// returns other than 0 ends it.
pub fn bpf_loop(env: &Env<'_>, [rounds, callback, ctx, flags, _]: Args) -> Result<u64, i32> {
    let rounds = rounds as u32;
    if flags != 0 {
        return Err(errno::EINVAL);
    }
    if rounds > limits::LOOPS {
        return Err(errno::E2BIG);
    }
    for i in 0..rounds {
        if call(env, callback, [i.into(), ctx, 0, 0]) != 0 {
            return Ok(u64::from(i) + 1);
        }
    }
    Ok(rounds.into())
}

/// `bpf_for_each_map_elem(map, callback, ctx, flags)`: elements visited.
pub fn for_each_map_elem(env: &Env<'_>, [map, callback, ctx, flags, _]: Args) -> Result<u64, i32> {
    if flags != 0 {
        return Err(errno::EINVAL);
    }
    let m = memory::map(map);
    let mut cursor = Cursor::default();
    let mut visited = 0;
    while let Some(e) = m.map.next(env.vcpu, &mut cursor) {
        visited += 1;
        let index = e.index;
        let key = match e.key {
            0 => core::ptr::from_ref(&index).expose_provenance() as u64,
            key => key,
        };
        if call(env, callback, [map, key, e.value, ctx]) != 0 {
            break;
        }
    }
    Ok(visited)
}
