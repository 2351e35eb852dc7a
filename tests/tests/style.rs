//! The habits of the code base that a machine can check: where `unsafe` may
//! stand, how long a file may be, and that links in the docs lead somewhere.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::{Path, PathBuf};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// All files below `dir` with this extension, build output left out.
fn files(dir: &Path, extension: &str, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).unwrap().flatten() {
        let path = entry.path();
        let name = entry.file_name();
        if path.is_dir() {
            if name != "target" && name != ".git" {
                files(&path, extension, found);
            }
        } else if path.extension().is_some_and(|e| e == extension) {
            found.push(path);
        }
    }
}

fn sources() -> Vec<(String, String)> {
    let mut found = Vec::new();
    files(root(), "rs", &mut found);
    let read = |path: PathBuf| {
        let name = path
            .strip_prefix(root())
            .unwrap()
            .to_string_lossy()
            .into_owned();
        (name, std::fs::read_to_string(path).unwrap())
    };
    found.into_iter().map(read).collect()
}

/// The files that may contain `unsafe`, one a line, from `docs/unsafe-files.txt`.
fn unsafe_files() -> Vec<String> {
    let text = std::fs::read_to_string(root().join("docs/unsafe-files.txt")).unwrap();
    let names = text
        .lines()
        .filter(|l| !l.is_empty() && !l.starts_with('#'));
    names
        .map(|l| l.split_whitespace().next().unwrap_or("").to_string())
        .collect()
}

/// Code lines, comments and doc comments left out.
fn code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines()
        .enumerate()
        .filter(|(_, l)| !l.trim_start().starts_with("//"))
}

#[test]
fn unsafe_stands_only_in_the_named_files() {
    let allowed = unsafe_files();
    let mut bad = Vec::new();
    let mut used = Vec::new();
    for (name, text) in sources() {
        let uses = code(&text).any(|(_, l)| {
            l.contains("unsafe {") || l.contains("unsafe impl") || l.contains("unsafe fn")
        });
        if uses && name != "tests/tests/style.rs" {
            if allowed.contains(&name) {
                used.push(name);
            } else {
                bad.push(name);
            }
        }
    }
    let stale: Vec<_> = allowed.iter().filter(|n| !used.contains(n)).collect();
    assert!(
        bad.is_empty(),
        "unsafe outside docs/unsafe-files.txt: {bad:#?}"
    );
    assert!(
        stale.is_empty(),
        "no unsafe left, take off the list: {stale:#?}"
    );
}

#[test]
fn every_unsafe_block_says_why_it_holds() {
    let mut bad = Vec::new();
    for (name, text) in sources() {
        if name == "tests/tests/style.rs" {
            continue;
        }
        let lines: Vec<&str> = text.lines().collect();
        for (at, line) in code(&text) {
            if !(line.contains("unsafe {") || line.contains("unsafe impl")) {
                continue;
            }
            let above = lines[at.saturating_sub(12)..=at].iter();
            if !above.into_iter().any(|l| l.contains("SAFETY:")) {
                bad.push(format!("{name}:{}", at + 1));
            }
        }
    }
    assert!(
        bad.is_empty(),
        "no SAFETY argument within 12 lines above: {bad:#?}"
    );
}

/// A ratchet: only ever lowered. Tables and tests are what is long.
const LONGEST_FILE: usize = 900;

#[test]
fn no_file_outgrows_one_reading() {
    let long: Vec<_> = sources()
        .into_iter()
        .map(|(name, text)| (text.lines().count(), name))
        .filter(|(lines, _)| *lines > LONGEST_FILE)
        .collect();
    assert!(
        long.is_empty(),
        "longer than {LONGEST_FILE} lines: {long:#?}"
    );
}

/// A ratchet, too: functions longer than this are tables, and named here.
const LONGEST_FUNCTION: usize = 70;
const TABLES: &[&str] = &[
    "bpf-core/src/disasm.rs: fmt",
    "bpf-core/src/insn/encode.rs: encode_one",
    "bpf-core/src/interp/exec.rs: execute",
    "bpf-core/src/verifier/args.rs: argument",
    "bpf-core/src/verifier/special.rs: special",
];

/// Tests and tools that only tests use are not counted.
fn is_product(name: &str) -> bool {
    let crates = ["api/src", "bpf-core/src", "guest/", "vmm/src"];
    crates.iter().any(|c| name.starts_with(c)) && !name.contains("tests")
}

/// Name and number of lines of each function, as rustfmt lays them out: the
/// closing brace stands under the first word.
fn functions(text: &str) -> Vec<(String, usize)> {
    let lines: Vec<&str> = text.lines().collect();
    let mut found = Vec::new();
    for (at, line) in code(text) {
        let words = line.trim_start();
        let Some((before, rest)) = words.split_once("fn ") else {
            continue;
        };
        let qualifiers = [
            "pub",
            "pub(crate)",
            "pub(super)",
            "const",
            "unsafe",
            "async",
        ];
        let declares = before.split_whitespace().all(|w| qualifiers.contains(&w));
        if !declares || line.ends_with('}') {
            continue;
        }
        let end = format!("{}}}", &line[..line.len() - words.len()]);
        let Some(len) = lines[at..].iter().position(|l| *l == end) else {
            continue;
        };
        let name = rest.split(['(', '<']).next().unwrap_or("");
        found.push((name.to_string(), len + 1));
    }
    found
}

#[test]
fn functions_stay_short_but_for_tables() {
    let mut long = Vec::new();
    for (file, text) in sources().into_iter().filter(|(n, _)| is_product(n)) {
        for (name, lines) in functions(&text) {
            if lines > LONGEST_FUNCTION {
                long.push(format!("{file}: {name}"));
            }
        }
    }
    long.sort();
    assert_eq!(
        long, TABLES,
        "functions longer than {LONGEST_FUNCTION} lines"
    );
}

#[test]
fn the_top_has_only_the_folders_of_the_architecture() {
    let mut found: Vec<_> = std::fs::read_dir(root())
        .unwrap()
        .flatten()
        .filter(|e| e.file_type().unwrap().is_dir())
        .map(|e| e.file_name().into_string().unwrap())
        .filter(|n| !n.starts_with('.') && n != "target")
        .collect();
    found.sort();
    let expected = [
        "api",
        "bpf-core",
        "docs",
        "guest",
        "resources",
        "tests",
        "vmm",
    ];
    assert_eq!(found, expected);
}

#[test]
fn links_in_the_docs_lead_somewhere() {
    let mut found = Vec::new();
    files(root(), "md", &mut found);
    let mut bad = Vec::new();
    for path in found {
        let text = std::fs::read_to_string(&path).unwrap();
        for target in text.split("](").skip(1).filter_map(|t| t.split(')').next()) {
            let file = target.split('#').next().unwrap_or("");
            if file.is_empty() || file.contains("://") {
                continue;
            }
            if !path.parent().unwrap().join(file).exists() {
                bad.push(format!("{}: {target}", path.display()));
            }
        }
    }
    assert!(bad.is_empty(), "dead links: {bad:#?}");
}
