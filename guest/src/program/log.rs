//! The verifier's log on its way to the host.
use crate::hal::Shared;
use bpf_core::uapi::errno;
use bpfvisor_abi::op::LoadRecord;

/// `BPF_LOG_FIXED`: a log that does not fit keeps its beginning, not its end.
const FIXED: u32 = 8;

/// Copies the log with a final zero into the record's buffer. Answers the size
/// that the whole log needs, and ENOSPC where it did not fit.
pub fn deliver(shared: Shared, rec: &LoadRecord, log: &str) -> (u32, Result<(), i32>) {
    if rec.log_level == 0 {
        return (0, Ok(()));
    }
    let need = u32::try_from(log.len() + 1).unwrap_or(u32::MAX);
    if rec.log_len == 0 {
        return (need, Ok(()));
    }
    let room = rec.log_len as usize - 1;
    let kept = match log.len().checked_sub(room) {
        None | Some(0) => log.as_bytes(),
        Some(_) if rec.log_level & FIXED != 0 => log.as_bytes().get(..room).unwrap_or_default(),
        Some(excess) => log.as_bytes().get(excess..).unwrap_or_default(),
    };
    let end = rec.log + kept.len() as u64;
    let written = shared
        .copy_in(rec.log, kept)
        .and_then(|()| shared.copy_in(end, &[0]));
    let fits = need <= rec.log_len;
    let status = match written {
        None => Err(errno::EFAULT),
        Some(()) if fits => Ok(()),
        Some(()) => Err(errno::ENOSPC),
    };
    (need, status)
}
