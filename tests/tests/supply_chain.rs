//! Every dependency has a licence from the list of `deny.toml`, comes from a
//! registry (not from a git address or a path outside the workspace) with a checksum,
//! and builds with the Rust version that we promise; versions side by side, and default
//! features that are on, are known.
//! Advisories can't be had offline: `cargo deny check advisories` fetches them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeSet;
use std::path::Path;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// Packages of which the tree has two versions: `bitflags` and `syn` by what the
/// rust-vmm crates and derive macros ask for, `object` and `hashbrown` by aya, which
/// only tests use, `embedded-io` by postcard, of which we use neither.
const SIDE_BY_SIDE: [&str; 5] = ["bitflags", "embedded-io", "hashbrown", "object", "syn"];

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

/// What the lock file resolves to, for our platform.
fn metadata() -> cargo_metadata::Metadata {
    let platform = ["--filter-platform", "x86_64-unknown-linux-gnu"];
    let options = ["--locked", "--offline"].into_iter().chain(platform);
    cargo_metadata::MetadataCommand::new()
        .manifest_path(root().join("Cargo.toml"))
        .other_options(options.map(String::from).collect::<Vec<_>>())
        .exec()
        .unwrap()
}

#[test]
fn licences_and_sources_are_on_the_list() {
    let metadata = metadata();
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

/// The oldest Rust that every dependency takes is not newer than the one that
/// `rust-version` promises.
#[test]
fn dependencies_build_with_the_promised_rust() {
    let metadata = metadata();
    let ours = metadata.packages.iter().filter(|p| p.source.is_none());
    let ours: BTreeSet<_> = ours.map(|p| p.rust_version.clone()).collect();
    assert_eq!(ours.len(), 1, "one promise for all crates: {ours:?}");
    let promised = ours.into_iter().next().flatten().unwrap();
    for p in &metadata.packages {
        let asked = p.rust_version.clone();
        let fits = asked.as_ref().is_none_or(|v| *v <= promised);
        assert!(fits, "{} {} asks for Rust {asked:?}", p.name, p.version);
    }
}

/// Each version side by side with another has somebody to blame.
#[test]
fn versions_side_by_side_are_known() {
    let known: BTreeSet<&str> = SIDE_BY_SIDE.into();
    let metadata = metadata();
    let mut seen = BTreeSet::new();
    let twice: BTreeSet<&str> = metadata
        .packages
        .iter()
        .filter(|p| !seen.insert(p.name.as_str()))
        .map(|p| p.name.as_str())
        .collect();
    let new: Vec<_> = twice.difference(&known).collect();
    assert!(new.is_empty(), "two versions each of {new:?}");
}

/// Packages whose default features, beyond the standard library, are switched on, and
/// why: `clap` for help, usage and suggestions; `vm-memory` because the loader asks for
/// the same.
const DEFAULTS: [&str; 2] = ["clap", "vm-memory"];

/// Of what is linked into the product, only the features that are asked for.
#[test]
fn default_features_are_off_or_known() {
    let metadata = metadata();
    let ours = metadata.packages.iter().filter(|p| p.source.is_none());
    let mut more = BTreeSet::new();
    for dependency in ours.flat_map(|p| &p.dependencies) {
        let normal = dependency.kind == cargo_metadata::DependencyKind::Normal;
        if !normal || !dependency.uses_default_features {
            continue;
        }
        let same = |p: &&cargo_metadata::Package| p.name.as_str() == dependency.name;
        let defaults = metadata.packages.iter().filter(same);
        let mut defaults = defaults.filter_map(|p| p.features.get("default")).flatten();
        if defaults.any(|feature| feature != "std") {
            more.insert(dependency.name.as_str());
        }
    }
    assert_eq!(
        more,
        BTreeSet::from(DEFAULTS),
        "default features that nobody asked for"
    );
}

#[test]
fn every_registry_package_has_a_checksum() {
    let lock = std::fs::read_to_string(root().join("Cargo.lock")).unwrap();
    for package in lock.split("[[package]]").skip(1) {
        let foreign = package.contains("source = ");
        assert_eq!(foreign, package.contains("checksum = "), "{package}");
    }
}
