//! Offsets and sizes of the attributes against the system's `linux/bpf.h`, by a
//! small C program. Fields that the installed header is too old for are left out.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

use bpfvisor::raw::attr::*;
use std::fmt::Write;
use std::process::Command;

type Fields = &'static [(&'static str, usize, usize)];

/// Our structure, its place in C, and its name in `union bpf_attr`.
const PLACES: [(&str, Fields); 19] = [
    ("union bpf_attr:", MapCreate::FIELDS),
    ("union bpf_attr:", Elem::FIELDS),
    ("union bpf_attr:batch.", Batch::FIELDS),
    ("union bpf_attr:", ProgLoad::FIELDS),
    ("union bpf_attr:", BtfLoad::FIELDS),
    ("union bpf_attr:test.", TestRun::FIELDS),
    ("union bpf_attr:info.", GetInfo::FIELDS),
    ("union bpf_attr:enable_stats.", EnableStats::FIELDS),
    ("union bpf_attr:", ObjPin::FIELDS),
    ("union bpf_attr:", GetId::FIELDS),
    ("union bpf_attr:prog_bind_map.", BindMap::FIELDS),
    ("union bpf_attr:prog_stream_read.", StreamRead::FIELDS),
    ("union bpf_attr:link_create.", LinkCreate::FIELDS),
    ("union bpf_attr:link_update.", LinkUpdate::FIELDS),
    ("union bpf_attr:link_detach.", LinkDetach::FIELDS),
    ("struct bpf_btf_info:", BtfInfo::FIELDS),
    ("struct bpf_map_info:", MapInfo::FIELDS),
    ("struct bpf_prog_info:", ProgInfo::FIELDS),
    ("struct bpf_prog_info:", &[("tag", 8, 8)]),
];

/// Fields that came after Linux 6.1, an older header than which is not expected.
const NEW: [&str; 17] = [
    "path_fd",
    "btf_log_true_size",
    "btf_flags",
    "btf_token_fd",
    "value_type_btf_obj_fd",
    "map_token_fd",
    "log_true_size",
    "prog_token_fd",
    "btf_vmlinux_id",
    "excl_prog_hash",
    "excl_prog_hash_size",
    "fd_array_cnt",
    "signature",
    "signature_size",
    "keyring_id",
    "hash",
    "hash_size",
];

fn has(header: &str, field: &str) -> bool {
    // There are other fields of this name; it came with its size.
    let field = if field == "hash" { "hash_size" } else { field };
    header.lines().any(|l| {
        let l = l.trim_start();
        (l.starts_with("__u") || l.starts_with("__s") || l.starts_with("__aligned"))
            && l.split(|c: char| !c.is_alphanumeric() && c != '_')
                .any(|w| w == field)
    })
}

fn cases(header: &str) -> Vec<(String, String, usize, usize)> {
    let mut out = Vec::new();
    for (place, fields) in PLACES {
        let (of, path) = place.split_once(':').unwrap();
        let member = path.trim_end_matches('.');
        if !header.contains(&format!("}} {member};")) && !member.is_empty() {
            assert_eq!(member, "prog_stream_read", "an old one is missing");
            continue;
        }
        for &(name, offset, size) in fields {
            let name = name.trim_start_matches("r#");
            if name.starts_with('_') || (NEW.contains(&name) && !has(header, name)) {
                continue;
            }
            out.push((of.into(), format!("{path}{name}"), offset, size));
        }
    }
    out
}

#[test]
fn the_layouts_are_those_of_the_header() {
    let Ok(header) = std::fs::read_to_string("/usr/include/linux/bpf.h") else {
        panic!("this test needs /usr/include/linux/bpf.h (Debian: linux-libc-dev)");
    };
    let cases = cases(&header);
    assert!(cases.len() > 90, "{}", cases.len());
    let mut source = String::from(
        "#include <stddef.h>\n#include <stdio.h>\n#include <linux/bpf.h>\nint main(void) {\n",
    );
    for (of, path, ..) in &cases {
        writeln!(
            source,
            "printf(\"%zu %zu\\n\", offsetof({of}, {path}), sizeof((({of} *)0)->{path}));"
        )
        .unwrap();
    }
    source += "return 0; }\n";
    let dir = std::env::temp_dir().join(format!("bpfvisor-layout-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let (c, exe) = (dir.join("layout.c"), dir.join("layout"));
    std::fs::write(&c, source).unwrap();
    let built = Command::new("cc").arg(&c).arg("-o").arg(&exe).output();
    let built = built.unwrap_or_else(|e| panic!("this test needs a C compiler: {e}"));
    assert!(
        built.status.success(),
        "{}",
        String::from_utf8_lossy(&built.stderr)
    );
    let told = Command::new(&exe).output().unwrap();
    std::fs::remove_dir_all(&dir).unwrap();
    let told = String::from_utf8(told.stdout).unwrap();
    let expected: Vec<String> = cases
        .iter()
        .map(|(of, path, offset, size)| format!("{of} {path}: {offset} {size}"))
        .collect();
    let found: Vec<String> = cases
        .iter()
        .zip(told.lines())
        .map(|((of, path, ..), line)| format!("{of} {path}: {line}"))
        .collect();
    assert_eq!(found, expected);
}
