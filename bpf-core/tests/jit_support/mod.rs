//! Runs compiled programs inside the test process.

mod exec;
pub mod world;
