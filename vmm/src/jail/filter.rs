//! System call filters, from `resources/seccomp`.

use std::sync::OnceLock;

use seccompiler::{BpfMap, TargetArch, apply_filter, compile_from_json};

use super::{JailError, Role};

/// Every rule with its reason.
const RULES: &str = include_str!("../../../resources/seccomp/x86_64.json");

/// Of this process, once it is jailed.
static FILTERS: OnceLock<BpfMap> = OnceLock::new();

/// Compiles all filters.
pub(super) fn compile() -> Result<BpfMap, JailError> {
    let wall = |text: String| JailError::Wall {
        step: "compile the system call filters",
        text,
    };
    let filters = compile_from_json(RULES.as_bytes(), TargetArch::x86_64);
    let filters = filters.map_err(|e| wall(e.to_string()))?;
    for role in Role::ALL {
        if !filters.contains_key(role.name()) {
            return Err(wall(format!("there is none for {:?}", role.name())));
        }
    }
    Ok(filters)
}

/// From now on the process is jailed.
pub(super) fn keep(filters: BpfMap) {
    let _ = FILTERS.set(filters);
}

/// Confines the calling thread for good, if the process is jailed. A thread that
/// can't be confined ends the process.
pub(crate) fn confine(role: Role) {
    let Some(filters) = FILTERS.get() else {
        return;
    };
    let done = filters.get(role.name()).map(|f| apply_filter(f));
    if !matches!(done, Some(Ok(()))) {
        eprintln!("no system call filter for {:?}: {done:?}", role.name());
        std::process::abort();
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_rules_compile_and_each_has_a_reason() {
        compile().unwrap();
        for rule in RULES.lines().filter(|l| l.contains("\"syscall\"")) {
            let reason = rule.split("\"comment\": \"").nth(1);
            assert!(reason.is_some_and(|r| r.len() > 8), "no reason: {rule}");
        }
    }
}
