//! Shorthand for turning a program away.
use super::Reject;
use alloc::string::String;

/// What every check answers.
pub(crate) type Res<T> = Result<T, Reject>;

impl Reject {
    /// A rejection whose instruction the caller fills in.
    pub(crate) fn new(errno: i32, reason: String) -> Self {
        Self {
            errno,
            insn: None,
            reason,
            unsupported: false,
        }
    }

    /// Names the instruction, unless something closer to the fault did.
    pub(crate) fn at(mut self, insn: usize) -> Self {
        self.insn.get_or_insert(insn as u32);
        self
    }
}

/// Returns a [`Reject`] with an errno and a formatted reason.
macro_rules! bail {
    ($errno:expr, $($arg:tt)*) => {
        return Err($crate::verifier::Reject::new($errno, alloc::format!($($arg)*)))
    };
}

/// Returns a [`Reject`] that says: outside what bpfvisor does.
macro_rules! unsupported {
    ($($arg:tt)*) => {{
        let mut r = $crate::verifier::Reject::new($crate::uapi::errno::EINVAL, alloc::format!($($arg)*));
        r.unsupported = true;
        return Err(r)
    }};
}
pub(crate) use {bail, unsupported};
