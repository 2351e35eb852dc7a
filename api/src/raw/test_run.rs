//! `BPF_PROG_TEST_RUN`.

use super::attr::TestRun as Attr;
use super::call::{Call, Result, fd, invalid, refuse};
use super::{Refused, UserMemory};
use crate::packet;
use crate::program::ProgramCore;
use crate::run::{RunOutput, TestRun};
use bpf_core::uapi::{ProgType, errno, sk_buff, xdp_md};
use std::mem::offset_of;

/// `BPF_F_TEST_XDP_LIVE_FRAMES`.
const LIVE_FRAMES: u32 = 1 << 1;
/// `BPF_F_TEST_SKB_CHECKSUM_COMPLETE`.
const CHECKSUM_COMPLETE: u32 = 1 << 2;

pub(super) fn test_run<M: UserMemory>(call: &mut Call<'_, M>) -> Result<i64> {
    let attr: Attr = call.get()?;
    if (attr.ctx_size_in == 0) != (attr.ctx_in == 0)
        || (attr.ctx_size_out == 0) != (attr.ctx_out == 0)
    {
        return Err(invalid("a context needs both address and size, or neither"));
    }
    let program = ProgramCore::from_fd(call.session.vm(), fd(attr.prog_fd))?;
    let prog_type = program.prog_type();
    check_options(&attr, prog_type)?;
    packet::check_len(prog_type, attr.data_size_in as usize)?;
    let ctx = context(call, &attr, prog_type)?;
    let data = call.read_vec(attr.data_in, attr.data_size_in as usize)?;
    let run = TestRun {
        data: &data,
        ctx: &ctx,
        repeat: attr.repeat,
    };
    let out = program.test_run(&run, &call.session.spare)?;
    finish(call, &attr, &out)
}

fn check_options(attr: &Attr, prog_type: ProgType) -> Result<()> {
    let known = match prog_type {
        ProgType::Xdp => LIVE_FRAMES,
        ProgType::Flat => 0,
        _ => CHECKSUM_COMPLETE,
    };
    if attr.flags & !known != 0 {
        return Err(invalid(format!("unknown flags {:#x}", attr.flags)));
    }
    if attr.flags & LIVE_FRAMES != 0 {
        return Err(refuse(
            errno::EOPNOTSUPP,
            "BPF_F_TEST_XDP_LIVE_FRAMES needs the network stack of a kernel",
        ));
    }
    if attr.batch_size != 0 {
        return Err(invalid("batch_size is for live frames"));
    }
    if attr.cpu != 0 && prog_type != ProgType::Xdp {
        return Err(invalid("cpu must be zero for this program type"));
    }
    Ok(())
}

/// The whole context structure, where the caller gives or wants one.
fn context<M: UserMemory>(call: &Call<'_, M>, attr: &Attr, prog_type: ProgType) -> Result<Vec<u8>> {
    if attr.ctx_in == 0 && attr.ctx_out == 0 {
        return Ok(Vec::new());
    }
    let size = match prog_type {
        ProgType::Xdp => xdp_md::SIZE,
        ProgType::Flat => return Err(invalid("flat programs have no context structure")),
        _ => sk_buff::SIZE,
    };
    call.read_struct(attr.ctx_in, attr.ctx_size_in, size as usize)
}

/// Hands the results out: the data, and only where that fits the context, too. Of what
/// does not fit as much as fits is copied, and its size is told.
fn finish<M: UserMemory>(call: &mut Call<'_, M>, attr: &Attr, out: &RunOutput) -> Result<i64> {
    // Without a size the data is copied whole.
    let room = match attr.data_size_out {
        0 => u32::MAX,
        room => room,
    };
    let fits = give(call, attr.data_out, room, &out.data)?;
    call.put(offset_of!(Attr, data_size_out), out.data.len() as u32);
    call.put(offset_of!(Attr, retval), out.retval);
    let ns = u32::try_from(out.duration.as_nanos()).unwrap_or(u32::MAX);
    call.put(offset_of!(Attr, duration), ns);
    fits.ok_or_else(|| too_short("data_out", attr.data_size_out, &out.data))?;
    if attr.ctx_out != 0 {
        let fits = give(call, attr.ctx_out, attr.ctx_size_out, &out.ctx)?;
        call.put(offset_of!(Attr, ctx_size_out), out.ctx.len() as u32);
        fits.ok_or_else(|| too_short("ctx_out", attr.ctx_size_out, &out.ctx))?;
    }
    Ok(0)
}

/// Copies what there is room for; `None` where that is not all.
fn give<M: UserMemory>(
    call: &Call<'_, M>,
    addr: u64,
    room: u32,
    bytes: &[u8],
) -> Result<Option<()>> {
    let len = bytes.len().min(room as usize);
    if addr != 0 {
        call.write(addr, &bytes[..len])?;
    }
    Ok((len == bytes.len()).then_some(()))
}

fn too_short(what: &str, room: u32, bytes: &[u8]) -> Refused {
    let len = bytes.len();
    refuse(
        errno::ENOSPC,
        format!("{what} has room for {room} bytes of {len}"),
    )
}
