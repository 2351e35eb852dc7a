//! This host's KVM, opened once per process.

use std::io;
use std::path::PathBuf;
use std::sync::OnceLock;

use kvm_bindings::{CpuId, KVM_API_VERSION, KVM_MAX_CPUID_ENTRIES, kvm_cpuid_entry2};
use kvm_ioctls::Kvm;

use crate::error::BootError;
use crate::signal;

const DEVICE: &str = "/dev/kvm";

/// What every VM of the process uses.
#[derive(Debug)]
pub(crate) struct Host {
    pub(crate) kvm: Kvm,
    /// What guests may see of the processor.
    pub(crate) cpuid: CpuId,
    /// Bits that XCR0 may have.
    pub(crate) xcr0: u64,
    /// Whether the processor has BMI2. It is the processor that is asked, not
    /// KVM, which may leave it out of what it offers: nothing can take these
    /// instructions from code that runs natively, and they need no state.
    pub(crate) bmi2: bool,
}

/// An error of a KVM ioctl, as a boot error that names the step.
pub(crate) fn kvm_error(step: &'static str) -> impl Fn(kvm_ioctls::Error) -> BootError {
    move |e| BootError::Kvm {
        step,
        source: io::Error::from_raw_os_error(e.errno()),
    }
}

impl Host {
    /// Opens KVM, or gives what an earlier call opened. A failure is not
    /// remembered.
    pub(crate) fn get() -> Result<&'static Self, BootError> {
        static HOST: OnceLock<Host> = OnceLock::new();
        if let Some(host) = HOST.get() {
            return Ok(host);
        }
        let host = Self::open()?;
        Ok(HOST.get_or_init(|| host))
    }

    fn open() -> Result<Self, BootError> {
        let kvm = Kvm::new().map_err(|e| {
            let (path, source) = (
                PathBuf::from(DEVICE),
                io::Error::from_raw_os_error(e.errno()),
            );
            match source.kind() {
                io::ErrorKind::PermissionDenied => BootError::Permission { path, source },
                _ => BootError::NoKvm { path, source },
            }
        })?;
        if kvm.get_api_version() != KVM_API_VERSION as i32 {
            let source = io::ErrorKind::Unsupported.into();
            return Err(BootError::Kvm {
                step: "agree on the API version",
                source,
            });
        }
        let cpuid = kvm
            .get_supported_cpuid(KVM_MAX_CPUID_ENTRIES)
            .map_err(kvm_error("list the supported CPUID"))?;
        signal::install().map_err(|source| BootError::Kvm {
            step: "install the kick's signal handler",
            source,
        })?;
        let xcr0 = supported_xcr0(&cpuid);
        Ok(Self {
            kvm,
            cpuid,
            xcr0,
            bmi2: std::arch::is_x86_feature_detected!("bmi2"),
        })
    }
}

/// CPUID leaf 0xd, subleaf 0 (SDM volume 1, 13.2).
fn supported_xcr0(cpuid: &CpuId) -> u64 {
    const X87_SSE: u64 = 3;
    leaf(cpuid, 0xd).map_or(X87_SSE, |e| u64::from(e.edx) << 32 | u64::from(e.eax))
}

/// Subleaf 0 of a leaf.
fn leaf(cpuid: &CpuId, function: u32) -> Option<&kvm_cpuid_entry2> {
    let mut entries = cpuid.as_slice().iter();
    entries.find(|e| e.function == function && e.index == 0)
}
