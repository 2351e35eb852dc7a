//! Every dependency has a licence from the list of `deny.toml` and comes from a
//! registry, not from a git address or a path outside the workspace.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeSet;
use std::path::Path;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// The licences that `deny.toml` allows.
fn allowed() -> BTreeSet<String> {
    let text = std::fs::read_to_string(root().join("deny.toml")).unwrap();
    let list = text
        .split("allow = [")
        .nth(1)
        .and_then(|t| t.split(']').next())
        .unwrap();
    list.split('"')
        .skip(1)
        .step_by(2)
        .map(str::to_string)
        .collect()
}

/// Whether an SPDX expression can be satisfied from `allowed`: some alternative
/// of `OR` whose `AND` parts are all allowed.
fn acceptable(expression: &str, allowed: &BTreeSet<String>) -> bool {
    let plain = expression.replace(['(', ')'], "").replace('/', " OR ");
    // With parentheses dropped, "(A OR B) AND C" reads as "A OR (B AND C)";
    // requiring all AND parts of every alternative that has one is stricter.
    plain
        .split(" OR ")
        .any(|side| side.split(" AND ").all(|l| allowed.contains(l.trim())))
}

#[test]
fn licences_and_sources_are_on_the_list() {
    let metadata = cargo_metadata::MetadataCommand::new()
        .manifest_path(root().join("Cargo.toml"))
        .other_options(
            [
                "--locked",
                "--offline",
                "--filter-platform",
                "x86_64-unknown-linux-gnu",
            ]
            .map(String::from)
            .to_vec(),
        )
        .exec()
        .unwrap();
    let allowed = allowed();
    let mut bad = Vec::new();
    for package in &metadata.packages {
        let licence = package.license.clone().unwrap_or_default();
        if !acceptable(&licence, &allowed) {
            bad.push(format!(
                "{} {}: licence `{licence}`",
                package.name, package.version
            ));
        }
        match &package.source {
            None => {} // ours
            Some(source) if source.repr.starts_with("registry+") => {}
            Some(source) => bad.push(format!("{}: source {source}", package.name)),
        }
    }
    assert!(
        metadata.packages.len() > 10,
        "cargo metadata listed hardly anything"
    );
    assert!(
        bad.is_empty(),
        "not allowed by deny.toml:\n{}",
        bad.join("\n")
    );
}

#[test]
fn licence_expressions_are_judged() {
    let allowed = allowed();
    assert!(acceptable("MIT OR Apache-2.0", &allowed));
    assert!(acceptable("MIT/Apache-2.0", &allowed));
    assert!(acceptable("GPL-3.0 OR MIT", &allowed));
    assert!(acceptable("(MIT OR Apache-2.0) AND Unicode-3.0", &allowed));
    assert!(!acceptable("GPL-3.0-only", &allowed));
    assert!(!acceptable("MIT AND GPL-3.0-only", &allowed));
    assert!(!acceptable("", &allowed));
}
