//! Shared parts of the tests that need more than one crate.

pub mod attack;
pub mod battery;
pub mod capture;
pub mod cases;
pub mod fuzz;
pub mod generate;
pub mod kernel;
pub mod kernel_object;
pub mod oracle;
pub mod saboteur;
pub mod targets;

/// The project's root folder.
pub fn root() -> &'static std::path::Path {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap_or(std::path::Path::new("."))
}
