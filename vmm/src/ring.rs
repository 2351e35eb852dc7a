//! The host's end of one vCPU's rings ([`bpfvisor_abi::ring`]).
//!
//! Everything read here is an allegation of the guest: words are read once and
//! an answer is passed on as plain numbers.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use bpfvisor_abi::handshake;
use bpfvisor_abi::ring::{Completion, ENTRIES, block, slot, stamp};
use vm_memory::{Bytes, VolatileMemory, VolatileMemoryError, VolatileSlice};

/// What a look at the completion ring gives.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Look {
    /// Not answered yet.
    Pending,
    /// Answered.
    Answered(Completion),
    /// The slot holds neither the old nor the new turn's stamp.
    Corrupt {
        /// What it holds.
        stamp: u32,
    },
}

type Result<T> = std::result::Result<T, VolatileMemoryError>;

/// Publishes submission number `turn`; true if the vCPU, whose own queue block is
/// `home`, sleeps and must be woken.
#[inline]
pub(crate) fn submit(
    queue: &VolatileSlice<'_>,
    home: &VolatileSlice<'_>,
    turn: u64,
    op: u32,
    arg: &[u64; 7],
) -> Result<bool> {
    let n = turn as u32;
    let at = (block::SUBMISSIONS + slot(n)) as usize;
    queue.get_ref::<u32>(at + 4)?.store(op);
    let words = queue.get_ref::<[u64; 7]>(at + 8)?;
    words.store(*arg);
    let submitted = queue.get_atomic_ref::<AtomicU32>(at)?;
    let asleep = home.get_atomic_ref::<AtomicU32>(block::GUEST_ASLEEP as usize)?;
    Ok(handshake::submit(submitted, stamp(n), asleep))
}

/// Looks for completion number `turn`.
#[inline]
pub(crate) fn look(queue: &VolatileSlice<'_>, turn: u64) -> Result<Look> {
    let n = turn as u32;
    let at = (block::COMPLETIONS + slot(n)) as usize;
    let seen = queue
        .get_atomic_ref::<AtomicU32>(at)?
        .load(Ordering::Acquire);
    if seen == stamp(n) {
        let status = queue.get_ref::<i32>(at + 4)?.load();
        let val = queue.get_ref::<[u64; 7]>(at + 8)?.load();
        return Ok(Look::Answered(Completion {
            seq: seen,
            status,
            val,
        }));
    }
    let before = if turn < u64::from(ENTRIES) {
        0
    } else {
        stamp(n.wrapping_sub(ENTRIES))
    };
    Ok(if seen == before {
        Look::Pending
    } else {
        Look::Corrupt { stamp: seen }
    })
}

/// Says whether the host sleeps until it is notified. After saying yes, look
/// once more before sleeping.
pub(crate) fn set_waiting(queue: &VolatileSlice<'_>, waiting: bool) -> Result<()> {
    let word = queue.get_atomic_ref::<AtomicU32>(block::HOST_WAITING as usize)?;
    handshake::set_waiting(word, waiting);
    Ok(())
}

/// What a vCPU says that it does: a [`Phase`](bpfvisor_abi::ring::Phase), and how
/// many requests it has begun.
pub(crate) fn doing(home: &VolatileSlice<'_>) -> Result<(u32, u32)> {
    let word = |at| Ok(home.get_ref::<u32>(at as usize)?.load());
    Ok((word(block::PHASE)?, word(block::BEGUN)?))
}

/// Says which ring pairs but the first a vCPU is to serve.
pub(crate) fn set_active(home: &VolatileSlice<'_>, pairs: u64) -> Result<()> {
    home.get_atomic_ref::<AtomicU64>(block::ACTIVE as usize)?
        .store(pairs, Ordering::SeqCst);
    Ok(())
}

/// Says whether the request under way has used its time up.
pub(crate) fn set_overdue(queue: &VolatileSlice<'_>, overdue: bool) -> Result<()> {
    queue
        .get_atomic_ref::<AtomicU32>(block::OVERDUE as usize)?
        .store(u32::from(overdue), Ordering::Relaxed);
    Ok(())
}

/// The text that the runtime left in the message area, `len` bytes as it says,
/// up to a zero. It may be anything, so nothing in it can steer a terminal.
pub(crate) fn message(queue: &VolatileSlice<'_>, len: u32) -> String {
    let mut text = vec![0; u64::from(len).min(block::MESSAGE_LEN) as usize];
    if queue
        .read_slice(&mut text, block::MESSAGE as usize)
        .is_err()
    {
        return String::new();
    }
    let text = text.split(|&byte| byte == 0).next().unwrap_or_default();
    let harmless = |c: char| match c {
        '\n' => c,
        c if c.is_control() => char::REPLACEMENT_CHARACTER,
        c => c,
    };
    String::from_utf8_lossy(text)
        .chars()
        .map(harmless)
        .collect()
}

#[cfg(test)]
mod tests;
