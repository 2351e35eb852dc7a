//! Runs compiled programs inside the test process.

#![allow(dead_code)] // each test binary uses its part

mod exec;
pub mod world;
