//! The committed BPF objects are what their sources compile to.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::Path;
use std::process::Command;

#[test]
fn objects_match_their_sources() {
    if Command::new("clang-19").arg("--version").output().is_err() {
        eprintln!("not checked: clang-19 is not installed (see resources/README.md)");
        return;
    }
    let kept = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap()
        .join("resources");
    let out = tempfile::tempdir().unwrap();
    let built = Command::new(kept.join("build.sh"))
        .arg(out.path())
        .status()
        .unwrap();
    assert!(built.success(), "resources/build.sh failed");
    let mut compared = 0;
    for folder in ["programs", "bench", "objects"] {
        for entry in std::fs::read_dir(out.path().join(folder))
            .unwrap()
            .flatten()
        {
            let name = Path::new(folder).join(entry.file_name());
            let fresh = std::fs::read(entry.path()).unwrap();
            assert!(
                fresh == std::fs::read(kept.join(&name)).unwrap(),
                "{name:?} is stale"
            );
            compared += 1;
        }
    }
    assert!(compared >= 4);
}
