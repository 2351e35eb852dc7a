//! Runs compiled programs inside the test process.

// Each test binary uses its part.
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

pub mod elf;
pub mod exec;
pub mod generate;
pub mod world;
