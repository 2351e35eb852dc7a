//! One line of output.

use serde::Serialize;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    Accept,
    Reject,
    /// Outside what bpfvisor means to do, or the answer can't be had.
    Unsupported,
}

/// What came of one program.
#[derive(Debug, Serialize)]
pub struct Answer {
    pub name: String,
    pub verdict: Verdict,
    #[serde(skip_serializing_if = "is_zero")]
    pub errno: i32,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reason: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub insn: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub processed: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verify_us: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jit_us: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code_bytes: Option<u32>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub log: String,
    pub runs: Vec<RunAnswer>,
}

fn is_zero(n: &i32) -> bool {
    *n == 0
}

/// What came of one run.
#[derive(Debug, Default, Serialize)]
pub struct RunAnswer {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retval: Option<u32>,
    /// The whole register, where it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub r0: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data_hex: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ctx_hex: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ns: Option<u64>,
    /// Where a redirected packet is to go (the kernel does not say).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub redirect: Option<serde_json::Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

impl RunAnswer {
    /// A run that did not come to its end.
    pub fn failed(why: impl std::fmt::Display) -> Self {
        Self {
            error: Some(why.to_string()),
            ..Self::default()
        }
    }
}

impl Answer {
    /// An answer without figures.
    pub fn new(name: &str, verdict: Verdict) -> Self {
        Self {
            name: name.into(),
            verdict,
            errno: 0,
            reason: String::new(),
            insn: None,
            processed: None,
            verify_us: None,
            jit_us: None,
            code_bytes: None,
            log: String::new(),
            runs: Vec::new(),
        }
    }

    /// The answer to a line that is no question: rejected as a whole.
    pub fn bad_line(name: String, reason: String) -> Self {
        Self {
            errno: bpf_core::uapi::errno::EINVAL,
            reason,
            ..Self::new(&name, Verdict::Reject)
        }
    }

    /// With errno and reason.
    pub fn because(mut self, errno: i32, reason: impl Into<String>) -> Self {
        self.errno = errno;
        self.reason = reason.into();
        self
    }
}
