//! Random bits from the host.

use std::io;

use rustix::rand::{GetRandomFlags, getrandom};

/// 128 bits for the guest's handles and hashes.
pub(crate) fn seed() -> io::Result<[u64; 2]> {
    let mut bytes = [0u8; 16];
    // So few bytes come whole or not at all.
    if getrandom(&mut bytes, GetRandomFlags::empty())? != bytes.len() {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let all = u128::from_le_bytes(bytes);
    Ok([all as u64, (all >> 64) as u64])
}
