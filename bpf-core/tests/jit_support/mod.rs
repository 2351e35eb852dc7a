//! Runs compiled programs inside the test process.

#![allow(dead_code)] // each test binary uses its part

pub mod elf;
pub mod exec;
pub mod generate;
pub mod world;
