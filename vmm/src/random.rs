//! Random bits from the host.
#![allow(unsafe_code)]

use std::io;

/// 128 bits for the guest's handles and hashes.
pub(crate) fn seed() -> io::Result<[u64; 2]> {
    let mut seed = [0u64; 2];
    let len = size_of_val(&seed);
    // SAFETY: `seed` is `len` writable bytes.
    let got = unsafe { libc::getrandom(seed.as_mut_ptr().cast(), len, 0) };
    if got == len as isize {
        Ok(seed)
    } else {
        Err(io::Error::last_os_error())
    }
}
