//! Which license strings count as GPL compatible (`license_is_gpl_compatible`).

const COMPATIBLE: [&[u8]; 6] = [
    b"GPL",
    b"GPL v2",
    b"GPL and additional rights",
    b"Dual BSD/GPL",
    b"Dual MIT/GPL",
    b"Dual MPL/GPL",
];

/// Judges a zero-padded license string.
pub fn gpl_compatible(license: &[u8]) -> bool {
    let text = license.split(|&b| b == 0).next().unwrap_or_default();
    COMPATIBLE.contains(&text)
}
