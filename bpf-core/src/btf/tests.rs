use super::{Btf, kind};
use alloc::vec::Vec;

/// A blob of these types and strings.
fn blob(types: &[u32], strings: &[u8]) -> Vec<u8> {
    let len = types.len() as u32 * 4;
    let header = [0x1_eb9f, 24, 0, len, len, strings.len() as u32];
    let words = header.iter().chain(types);
    let bytes = words.flat_map(|w| w.to_ne_bytes());
    bytes.chain(strings.iter().copied()).collect()
}

const INT: u32 = kind::INT << 24;
const ARRAY: u32 = kind::ARRAY << 24;
const CONST: u32 = kind::CONST << 24;

#[test]
fn sizes_and_names_are_found() {
    let types = [
        [1, INT, 4, 32].as_slice(),
        &[0, CONST, 1],
        &[0, ARRAY, 0, 2, 1, 6],
        &[0, ARRAY, 0, 3, 1, 1 << 30],
    ];
    let blob = blob(&types.concat(), b"\0int\0");
    let btf = Btf::parse(&blob).unwrap();
    assert_eq!(btf.len(), 5);
    assert_eq!(btf.get(1).map(|t| btf.text(t.name)), Some("int"));
    assert_eq!(btf.resolve(2).map(|(id, _)| id), Some(1));
    assert_eq!((btf.size(2), btf.size(3)), (Some(4), Some(24)));
    assert_eq!((btf.size(4), btf.size(0), btf.size(9)), (None, None, None));
    assert!(btf.has_string(4) && !btf.has_string(5));
    assert_eq!((btf.text(2), btf.text(5)), ("nt", ""));
}

#[test]
fn nothing_ends_in_a_circle() {
    let types = [[0, CONST, 2], [0, CONST, 1]].concat();
    let blob = blob(&types, b"\0");
    let btf = Btf::parse(&blob).unwrap();
    assert!(btf.resolve(1).is_none());
    assert_eq!(btf.size(1), None);
}

#[test]
fn what_is_cut_off_is_refused() {
    let whole = blob(&[1, INT, 4, 32], b"\0int\0");
    assert!(Btf::parse(&whole).is_ok());
    for len in 0..whole.len() {
        assert!(Btf::parse(&whole[..len]).is_err(), "{len} bytes");
    }
    let unknown = blob(&[1, 20 << 24, 4], b"\0");
    assert!(Btf::parse(&unknown).is_err());
}
