//! Programs over plain memory: R1 = its address, R2 = its length.
use super::Kind;
use super::packet::bounds;
use crate::env::Env;
use bpf_core::uapi::errno;
use bpfvisor_abi::op::Packet;

/// The flat context.
pub struct Flat;

impl Kind for Flat {
    const REDIRECT: Option<u32> = None;

    #[inline(always)]
    fn begin(env: &Env<'_>, p: &Packet) -> Result<[u64; 2], i32> {
        let b = bounds(env, p)?;
        let (min, max) = env.prog.flat;
        if p.len < min || p.len > max {
            return Err(errno::EINVAL);
        }
        env.hard_start.set(b.start);
        env.hard_end.set(b.limit);
        Ok([b.data, p.len.into()])
    }

    #[inline(always)]
    fn end(_env: &Env<'_>, _p: &mut Packet) -> Result<(), i32> {
        Ok(())
    }
}
