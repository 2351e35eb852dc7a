//! Judges that two implementations must agree on.
//!
//! [`Referee`] gives the same program to the running kernel and to bpfvisor's
//! verifier (in this process), over maps of the same shape, and classifies how
//! the verdicts relate. [`minimise`] shrinks a program that they disagree on.

mod judge;
mod minimise;
pub mod soundness;
mod world;

pub(crate) use judge::takes_function;
pub use judge::{Referee, Verdict, functions, mirror_maps, verify};
pub use minimise::minimise;

use bpf_core::uapi::errno;

/// How two verdicts relate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Agreement {
    /// Both accept.
    BothAccept,
    /// Both reject with the same errno.
    BothReject,
    /// Both reject, with different errno.
    ErrnoDiffers,
    /// Only bpfvisor accepts: it proved more, or it is unsound.
    FalseAccept,
    /// Only the kernel accepts.
    FalseReject,
    /// bpfvisor does not mean to judge it.
    Unsupported,
    /// bpfvisor's verifier panicked.
    Crash,
    /// The kernel's verifier found itself inconsistent ("verifier bug", EFAULT).
    KernelBug,
}

impl Agreement {
    /// The relation of the kernel's verdict to ours.
    pub fn of(kernel: &Verdict, ours: &Verdict) -> Self {
        match (kernel.errno, ours.errno) {
            _ if ours.unsupported => Self::Unsupported,
            _ if ours.crashed => Self::Crash,
            (errno::EFAULT, _) => Self::KernelBug,
            (0, 0) => Self::BothAccept,
            (0, _) => Self::FalseReject,
            (_, 0) => Self::FalseAccept,
            (a, b) if a == b => Self::BothReject,
            _ => Self::ErrnoDiffers,
        }
    }

    /// Whether somebody should look at it.
    pub fn is_disagreement(self) -> bool {
        !matches!(
            self,
            Self::BothAccept | Self::BothReject | Self::Unsupported | Self::KernelBug
        )
    }
}
