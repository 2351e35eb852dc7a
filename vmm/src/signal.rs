//! The signal that gets a vCPU's thread out of the guest: the first real-time
//! signal, whose handler does nothing.

use std::io;
use std::sync::OnceLock;

use vmm_sys_util::signal::{SIGRTMIN, register_signal_handler, unblock_signal};

/// Its number.
pub(crate) fn kick() -> libc::c_int {
    SIGRTMIN()
}

/// Installs the handler, once per process.
pub(crate) fn install() -> io::Result<()> {
    static INSTALLED: OnceLock<Result<(), i32>> = OnceLock::new();
    let install = || register_signal_handler(kick(), ignore).map_err(|e| e.errno());
    INSTALLED
        .get_or_init(install)
        .map_err(io::Error::from_raw_os_error)
}

/// Lets it through to this thread, whatever mask it was born with.
pub(crate) fn unblock() {
    // Refused only for numbers that are no signals.
    let _ = unblock_signal(kick());
}

extern "C" fn ignore(_: libc::c_int, _: *mut libc::siginfo_t, _: *mut libc::c_void) {}
