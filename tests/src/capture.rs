//! Reading the packets of a capture, for tests.

use std::io;
use std::path::Path;

/// The packets of a little-endian pcap file, as far as they were kept.
///
/// # Errors
/// What reading the file gives; `InvalidData` for another format or a cut file.
pub fn packets(path: &Path) -> io::Result<Vec<Vec<u8>>> {
    let damaged = || io::Error::new(io::ErrorKind::InvalidData, "not a whole little-endian pcap");
    let bytes = std::fs::read(path)?;
    let mut rest = match bytes.get(..4) {
        Some([0xd4, 0xc3, 0xb2, 0xa1]) => bytes.get(24..).ok_or_else(damaged)?,
        _ => return Err(damaged()),
    };
    let mut found = Vec::new();
    while !rest.is_empty() {
        let head = rest.get(8..12).ok_or_else(damaged)?;
        let len = head.iter().rev().fold(0, |n, b| n << 8 | usize::from(*b));
        found.push(rest.get(16..16 + len).ok_or_else(damaged)?.to_vec());
        rest = &rest[16 + len..];
    }
    Ok(found)
}
