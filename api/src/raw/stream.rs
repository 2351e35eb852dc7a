//! `BPF_PROG_STREAM_READ_BY_FD`.

use super::UserMemory;
use super::attr::StreamRead;
use super::call::{Call, Result, fd, refuse};
use crate::program::ProgramCore;
use bpf_core::uapi::errno;

/// `BPF_STREAM_STDOUT` and `BPF_STREAM_STDERR`.
const STREAMS: std::ops::RangeInclusive<u32> = 1..=2;

/// Programs write to streams by kernel functions, which there are not here: both
/// streams of each program are there, and empty.
pub(super) fn read<M: UserMemory>(call: &Call<'_, M>) -> Result<i64> {
    let attr: StreamRead = call.get()?;
    ProgramCore::from_fd(call.session.vm(), fd(attr.prog_fd))?;
    match STREAMS.contains(&attr.stream_id) {
        true => Ok(0),
        false => Err(refuse(
            errno::ENOENT,
            format!("a program has no stream {}", attr.stream_id),
        )),
    }
}
