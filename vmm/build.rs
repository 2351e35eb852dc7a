//! Builds the guest image with the same compiler, for the same target, in a
//! target directory of its own, and leaves it where `image.rs` embeds it.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

const TARGET: &str = "x86_64-unknown-linux-gnu";

fn main() -> ExitCode {
    match build() {
        Ok(()) => ExitCode::SUCCESS,
        Err(text) => {
            println!("cargo::error=the guest image can't be built: {text}");
            ExitCode::FAILURE
        }
    }
}

fn variable(name: &str) -> Result<PathBuf, String> {
    env::var_os(name)
        .map(PathBuf::from)
        .ok_or(format!("{name} is not set"))
}

fn build() -> Result<(), String> {
    let workspace = variable("CARGO_MANIFEST_DIR")?.join("..");
    for source in ["guest", "bpf-core", "Cargo.toml", "Cargo.lock"] {
        println!(
            "cargo::rerun-if-changed={}",
            workspace.join(source).display()
        );
    }
    let out = variable("OUT_DIR")?;
    let target_dir = out.join("guest");
    let status = cargo(&variable("CARGO")?, &workspace, &target_dir)
        .status()
        .map_err(|e| format!("cargo does not start: {e}"))?;
    if !status.success() {
        return Err(format!("cargo ended with {status}"));
    }
    let image = target_dir.join(TARGET).join("guest/bpfvisor-guest");
    std::fs::copy(&image, out.join("guest.elf"))
        .map_err(|e| format!("{}: {e}", image.display()))?;
    Ok(())
}

fn cargo(cargo: &Path, workspace: &Path, target_dir: &Path) -> Command {
    let mut command = Command::new(cargo);
    command
        .current_dir(workspace)
        .args([
            "build",
            "--quiet",
            "--package=bpfvisor-guest",
            "--bin=bpfvisor-guest",
        ])
        .args([
            "--features=image",
            "--profile=guest",
            "--target",
            TARGET,
            "--target-dir",
        ])
        .arg(target_dir);
    // What the outer cargo tells its compilers is not meant for the inner one
    // (under clippy, it would not even compile).
    for (name, _) in env::vars_os() {
        let name = name.to_string_lossy().into_owned();
        let of_outer = [
            "CARGO_CFG_",
            "CARGO_FEATURE_",
            "CARGO_PKG_",
            "CARGO_PROFILE_",
            "DEP_",
        ];
        if of_outer.iter().any(|prefix| name.starts_with(prefix)) {
            command.env_remove(name);
        }
    }
    for name in [
        "CARGO_BUILD_TARGET",
        "CARGO_BUILD_TARGET_DIR",
        "CARGO_MAKEFLAGS",
        "CARGO_MANIFEST_DIR",
        "CARGO_MANIFEST_PATH",
        "CARGO_TARGET_DIR",
        "CLIPPY_ARGS",
        "HOST",
        "MAKEFLAGS",
        "MFLAGS",
        "OPT_LEVEL",
        "OUT_DIR",
        "PROFILE",
        "RUSTC_WORKSPACE_WRAPPER",
        "RUSTC_WRAPPER",
        "RUSTFLAGS",
        "TARGET",
    ] {
        command.env_remove(name);
    }
    command.env("CARGO_ENCODED_RUSTFLAGS", "-Crelocation-model=static");
    command
}
