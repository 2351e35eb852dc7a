//! From operation code to handler.
use crate::{Runtime, map, program, run};
use bpf_core::uapi::errno;
use bpfvisor_abi::op::code;
use bpfvisor_abi::ring::Submission;

/// One request as its handler sees it.
pub struct Call<'a> {
    /// The runtime.
    pub rt: &'a Runtime,
    /// The vCPU that executes it.
    pub vcpu: u32,
    /// The submission's arguments.
    pub arg: [u64; 7],
}

/// What a handler answers: results, or a positive errno.
pub type Answer = Result<[u64; 7], i32>;

/// Executes one request on a vCPU: status (0 or a negative errno) and results.
#[inline]
pub fn execute(rt: &Runtime, vcpu: u32, sub: &Submission) -> (i32, [u64; 7]) {
    let c = Call {
        rt,
        vcpu,
        arg: sub.arg,
    };
    let answer = match sub.op {
        code::RUN => run::single(&c),
        code::RUN_BATCH => run::batch(&c),
        code::MAP_BATCH => return map::batch(&c),
        code::NOP => Ok([0; 7]),
        code::PROG_LOAD => program::load(&c),
        code::PROG_UNLOAD => program::unload(&c),
        code::PROG_DUMP => program::dump(&c),
        code::MAP_CREATE => map::create(&c),
        code::MAP_FREE => map::free(&c),
        code::MAP_UPDATE => map::update(&c),
        code::MAP_LOOKUP => map::lookup(&c),
        code::MAP_DELETE => map::delete(&c),
        code::MAP_NEXT_KEY => map::next_key(&c),
        code::MAP_LOOKUP_AND_DELETE => map::lookup_and_delete(&c),
        code::MAP_FREEZE => map::freeze(&c),
        code::MAP_CLEAR => map::clear(&c),
        code::PAIR_RESET => rt.reset_pair(vcpu, sub.arg[0]),
        _ => Err(errno::EINVAL),
    };
    match answer {
        Ok(val) => (0, val),
        Err(e) => (-e, [0; 7]),
    }
}
