//! Has system calls fail, one at a time, without a seam in what is tested: a seccomp
//! filter hands those that can fail to a supervisor, who lets them pass or answers in
//! the kernel's place (seccomp_unotify(2)).
//!
//! The filter holds for one thread and all that it starts, for good; so each piece of
//! work has a thread of its own. Needs root (or `no_new_privs`).
#![allow(unsafe_code)]

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::Scope;
use std::time::{Duration, Instant};

/// System calls that are watched: what makes descriptors, threads and mappings, and
/// what sends and receives. Of `mmap` only what reserves no memory, as guest memory
/// is mapped (without a stack for its signals the standard library ends the process),
/// of `ioctl` only those of KVM.
const WATCHED: [libc::c_long; 16] = [
    libc::SYS_memfd_create,
    libc::SYS_ftruncate,
    libc::SYS_fcntl,
    libc::SYS_eventfd2,
    libc::SYS_socketpair,
    libc::SYS_socket,
    libc::SYS_connect,
    libc::SYS_bind,
    libc::SYS_accept4,
    libc::SYS_sendmsg,
    libc::SYS_recvmsg,
    libc::SYS_setsockopt,
    libc::SYS_epoll_ctl,
    libc::SYS_clone3,
    libc::SYS_clone,
    libc::SYS_madvise,
];

/// First byte of KVM's ioctls, above the number; and the one that runs a vCPU.
const KVM: u32 = 0xae;
const KVM_RUN: u32 = 0xae80;

/// Which of the watched calls fails.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// The how manieth fails, from 1; 0: none.
    pub nth: u64,
    /// With what.
    pub errno: i32,
    /// Only ioctls that run vCPUs are watched, and nothing else.
    pub runs: bool,
}

/// What the supervisor saw.
#[derive(Clone, Copy, Debug, Default)]
pub struct Seen {
    /// Watched calls.
    pub calls: u64,
    /// The number of the system call that was made to fail, and its second argument.
    pub failed: Option<(i32, u64)>,
}

/// How long threads may outlast the work that started them.
const PATIENCE: Duration = Duration::from_secs(20);

/// Does `work` while one of its system calls, or of those of threads that it starts,
/// fails; returns when all of them have ended.
///
/// # Panics
/// If the kernel has no such filters, the work panics, or threads are left.
#[allow(clippy::expect_used)]
pub fn sabotage<T: Send>(plan: Plan, work: impl FnOnce() -> T + Send) -> (T, Seen) {
    std::thread::scope(|scope| {
        let (listener, worker) = start(scope, plan, work);
        let listener = listener.recv().expect("a worker");
        let listener = listener.expect("seccomp with a listener: needs root and Linux 5.5");
        let mut seen = Seen::default();
        let mut ended: Option<Instant> = None;
        while next(&listener, plan, &mut seen) {
            if worker.is_finished() {
                let since = *ended.get_or_insert_with(Instant::now);
                assert!(since.elapsed() < PATIENCE, "threads are left, {plan:?}");
            }
        }
        (worker.join().expect("the work panicked"), seen)
    })
}

type Worker<'scope, T> = std::thread::ScopedJoinHandle<'scope, T>;
type Listener = Receiver<std::io::Result<OwnedFd>>;

fn start<'scope, T: Send + 'scope>(
    scope: &'scope Scope<'scope, '_>,
    plan: Plan,
    work: impl FnOnce() -> T + Send + 'scope,
) -> (Listener, Worker<'scope, T>) {
    let (sender, listener): (SyncSender<_>, _) = sync_channel(1);
    let worker = scope.spawn(move || {
        let made = install(&filter(plan));
        let _ = sender.send(made);
        work()
    });
    (listener, worker)
}

fn statement(code: u32, k: u32) -> libc::sock_filter {
    libc::sock_filter {
        code: code as u16,
        jt: 0,
        jf: 0,
        k,
    }
}

/// Goes on with the next instruction if it holds, else with the one after.
fn jump(code: u32, k: u32) -> libc::sock_filter {
    libc::sock_filter {
        jf: 1,
        ..statement(libc::BPF_JMP | code | libc::BPF_K, k)
    }
}

/// Hands watched calls over and lets all others pass.
fn filter(plan: Plan) -> Vec<libc::sock_filter> {
    use libc::{
        BPF_ABS, BPF_ALU, BPF_AND, BPF_JEQ, BPF_JSET, BPF_K, BPF_LD, BPF_RET, BPF_RSH, BPF_W,
    };
    // Offsets in `struct seccomp_data`: the number, and the lower half of an argument.
    let load = |at| statement(BPF_LD | BPF_W | BPF_ABS, at);
    let argument = |n: u32| load(16 + 8 * n);
    let hand_over = statement(BPF_RET | BPF_K, libc::SECCOMP_RET_USER_NOTIF);
    let pass = statement(BPF_RET | BPF_K, libc::SECCOMP_RET_ALLOW);
    let mut code = vec![load(0)];
    if !plan.runs {
        for number in WATCHED {
            code.extend([jump(BPF_JEQ, number as u32), hand_over]);
        }
        let flags = libc::MAP_NORESERVE as u32;
        let mmap = [argument(3), jump(BPF_JSET, flags), hand_over, pass];
        code.push(libc::sock_filter {
            jt: 0,
            jf: mmap.len() as u8,
            ..jump(BPF_JEQ, libc::SYS_mmap as u32)
        });
        code.extend(mmap);
    }
    let shift = statement(BPF_ALU | BPF_RSH | BPF_K, 8);
    let mask = statement(BPF_ALU | BPF_AND | BPF_K, 0xff);
    let (run, other) = match plan.runs {
        true => (hand_over, pass),
        false => (pass, hand_over),
    };
    let ioctl = [
        argument(1),
        jump(BPF_JEQ, KVM_RUN),
        run,
        shift,
        mask,
        jump(BPF_JEQ, KVM),
        other,
    ];
    code.push(libc::sock_filter {
        jt: 0,
        jf: ioctl.len() as u8,
        ..jump(BPF_JEQ, libc::SYS_ioctl as u32)
    });
    code.extend(ioctl);
    code.push(pass);
    code
}

/// For this thread and those that it starts; gives the supervisor's descriptor.
fn install(code: &[libc::sock_filter]) -> std::io::Result<OwnedFd> {
    let program = libc::sock_fprog {
        len: code.len() as u16,
        filter: code.as_ptr().cast_mut(),
    };
    let (mode, flags) = (
        libc::SECCOMP_SET_MODE_FILTER,
        libc::SECCOMP_FILTER_FLAG_NEW_LISTENER,
    );
    // SAFETY: the program and its instructions live during the call, which copies
    // them and writes nothing.
    let fd = unsafe { libc::syscall(libc::SYS_seccomp, mode, flags, &raw const program) };
    if fd < 0 {
        return Err(std::io::Error::last_os_error());
    }
    // SAFETY: a new descriptor, owned by nobody else.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// Waits a little for a call and decides it; false when nobody is left to make any.
fn next(listener: &OwnedFd, plan: Plan, seen: &mut Seen) -> bool {
    let fd = listener.as_raw_fd();
    let mut poll = libc::pollfd {
        fd,
        events: libc::POLLIN,
        revents: 0,
    };
    // SAFETY: one valid structure, which the call fills in.
    let ready = unsafe { libc::poll(&raw mut poll, 1, 20) };
    if ready <= 0 {
        return true;
    }
    if poll.revents & libc::POLLIN == 0 {
        return poll.revents & libc::POLLHUP == 0;
    }
    // SAFETY: plain old data, which the kernel demands to be zero.
    let mut call: libc::seccomp_notif = unsafe { std::mem::zeroed() };
    // SAFETY: the descriptor is a listener, and the structure is the one it fills in.
    if unsafe { libc::ioctl(fd, libc::SECCOMP_IOCTL_NOTIF_RECV, &raw mut call) } != 0 {
        // Whoever made the call is gone.
        return true;
    }
    seen.calls += 1;
    let fails = seen.calls == plan.nth;
    if fails {
        seen.failed = Some((call.data.nr, call.data.args[1]));
    }
    let mut answer = libc::seccomp_notif_resp {
        id: call.id,
        val: 0,
        error: if fails { -plan.errno } else { 0 },
        flags: if fails {
            0
        } else {
            libc::SECCOMP_USER_NOTIF_FLAG_CONTINUE as u32
        },
    };
    // SAFETY: the structure is the one that the call reads.
    unsafe { libc::ioctl(fd, libc::SECCOMP_IOCTL_NOTIF_SEND, &raw mut answer) };
    true
}
