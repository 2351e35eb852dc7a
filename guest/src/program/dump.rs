//! What a program became.
use crate::dispatch::{Answer, Call};
use alloc::vec::Vec;
use bpf_core::uapi::errno;

/// `PROG_DUMP`: instructions after rewriting (0), machine code (1), where in that
/// the instructions' code begins (2) or which instruction of the program as loaded
/// each is (3), as far as they fit.
pub fn dump(c: &Call<'_>) -> Answer {
    let [handle, off, len, what, ..] = c.arg;
    let prog = c.rt.objects.prog(handle as u32).ok_or(errno::EBADF)?;
    let bytes: Vec<u8> = match what {
        0 => prog
            .program
            .insns
            .iter()
            .flat_map(|i| i.to_bytes())
            .collect(),
        1 => crate::memory::bytes(prog.span().addr, prog.span().len).to_vec(),
        2 => prog
            .offsets()
            .iter()
            .flat_map(|at| at.to_le_bytes())
            .collect(),
        3 => prog
            .program
            .origin
            .iter()
            .flat_map(|at| at.to_le_bytes())
            .collect(),
        _ => return Err(errno::EINVAL),
    };
    let fit = bytes
        .get(..bytes.len().min(len as usize))
        .unwrap_or_default();
    c.rt.shared.copy_in(off, fit).ok_or(errno::EFAULT)?;
    Ok([bytes.len() as u64, 0, 0, 0, 0, 0, 0])
}
