//! From operation code to handler.
use crate::Runtime;
use bpf_core::uapi::errno;
use bpfvisor_abi::op::code;
use bpfvisor_abi::ring::Submission;

/// What a handler answers: results, or a positive errno.
pub type Answer = Result<[u64; 7], i32>;

/// Executes one request on a vCPU: status (0 or a negative errno) and results.
pub fn execute(_rt: &Runtime, _vcpu: u32, sub: &Submission) -> (i32, [u64; 7]) {
    let answer: Answer = match sub.op {
        code::NOP => Ok([0; 7]),
        _ => Err(errno::EINVAL),
    };
    match answer {
        Ok(val) => (0, val),
        Err(e) => (-e, [0; 7]),
    }
}
