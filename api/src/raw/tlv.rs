//! Lists of attributes in netlink's format.
//!
//! An attribute is a length (16 bits, header included), a type (16 bits) and the
//! contents; the next one begins at the next multiple of 4. The last may go
//! without padding.

use super::call::{Result, invalid, refuse};
use bpf_core::uapi::errno;

const HEADER: usize = 4;

/// One kind of attribute that a command takes.
pub(super) struct Kind {
    pub number: u16,
    pub name: &'static str,
    /// Its contents are a multiple of this.
    pub unit: usize,
    /// Its contents have so many bytes at most.
    pub most: usize,
}

/// The contents of the attributes in `list`, in the order of `kinds`; `None` for
/// those that are not there.
pub(super) fn parse<'l, const N: usize>(
    list: &'l [u8],
    kinds: &[Kind; N],
) -> Result<[Option<&'l [u8]>; N]> {
    let mut found = [None; N];
    let mut at = 0;
    while at < list.len() {
        let (number, contents) = next(list, at)?;
        let Some(k) = kinds.iter().position(|k| k.number == number) else {
            return Err(invalid(format!(
                "attribute of unknown type {number} at byte {at}"
            )));
        };
        check(&kinds[k], contents.len(), at)?;
        if found[k].replace(contents).is_some() {
            let name = kinds[k].name;
            return Err(invalid(format!(
                "attribute {name} at byte {at} is there a second time"
            )));
        }
        at += (HEADER + contents.len()).next_multiple_of(HEADER);
    }
    Ok(found)
}

/// Type and contents of the attribute that begins at `at`.
fn next(list: &[u8], at: usize) -> Result<(u16, &[u8])> {
    let rest = &list[at..];
    let Some((&[l0, l1, t0, t1], _)) = rest.split_first_chunk::<HEADER>() else {
        return Err(invalid(format!(
            "the list is truncated: {} bytes at byte {at}, expected a header of {HEADER}",
            rest.len()
        )));
    };
    let len = usize::from(u16::from_ne_bytes([l0, l1]));
    let number = u16::from_ne_bytes([t0, t1]);
    if len < HEADER {
        return Err(invalid(format!(
            "the attribute at byte {at} has length {len}, less than its header"
        )));
    }
    match rest.get(HEADER..len) {
        Some(contents) => Ok((number, contents)),
        None => Err(invalid(format!(
            "the attribute at byte {at} is truncated: it has length {len}, but {} bytes are left",
            rest.len()
        ))),
    }
}

fn check(kind: &Kind, len: usize, at: usize) -> Result<()> {
    let Kind {
        name, unit, most, ..
    } = kind;
    if len > *most {
        return Err(refuse(
            errno::E2BIG,
            format!("attribute {name} at byte {at} is oversized: {len} bytes, at most {most}"),
        ));
    }
    if len == 0 || !len.is_multiple_of(*unit) {
        return Err(invalid(format!(
            "attribute {name} at byte {at} is misaligned: {len} bytes, expected a multiple of {unit}"
        )));
    }
    Ok(())
}
