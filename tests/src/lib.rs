//! Shared parts of the tests that need more than one crate.

pub mod generate;
pub mod kernel;
pub mod oracle;
