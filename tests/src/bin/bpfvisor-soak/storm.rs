//! Signals to every thread of the process, whatever it does: system calls are
//! interrupted (EINTR) and vCPUs leave their guests for nothing.
#![allow(unsafe_code)]

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// Between two rounds.
const PAUSE: Duration = Duration::from_millis(25);

static RECEIVED: AtomicU64 = AtomicU64::new(0);

extern "C" fn received(_: libc::c_int) {
    RECEIVED.fetch_add(1, Relaxed);
}

/// Signals that threads have received.
pub fn count() -> u64 {
    RECEIVED.load(Relaxed)
}

/// Sends a signal to each thread, again and again, until it is over.
pub fn rage(over: &AtomicBool) {
    // SAFETY: all zeroes is a valid value: no flags, so that calls are not restarted.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = received as *const () as usize;
    // SAFETY: the handler only adds to an atomic, which a signal may do at any time.
    unsafe { libc::sigaction(libc::SIGUSR1, &raw const action, std::ptr::null_mut()) };
    while !over.load(Relaxed) {
        let tasks = std::fs::read_dir("/proc/self/task").into_iter().flatten();
        for task in tasks.flatten() {
            let Some(tid) = task.file_name().to_str().and_then(|t| t.parse().ok()) else {
                continue;
            };
            let tid: libc::pid_t = tid;
            let own = std::process::id();
            // SAFETY: takes numbers; a thread that is gone is an error, no more.
            unsafe { libc::syscall(libc::SYS_tgkill, own, tid, libc::SIGUSR1) };
        }
        std::thread::sleep(PAUSE);
    }
}
