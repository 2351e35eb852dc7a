//! Single instructions against what the kernel's verifier said about them.
#![allow(clippy::unwrap_used, clippy::panic)]
use bpf_core::insn::Insn;

/// Slots from hex digits.
fn slots(hex: &str) -> Vec<Insn> {
    let digits: Vec<u8> = hex.chars().map(|c| c.to_digit(16).unwrap() as u8).collect();
    let bytes: Vec<u8> = digits.chunks(2).map(|d| d[0] << 4 | d[1]).collect();
    bytes
        .chunks(8)
        .map(|slot| Insn::from_bytes(slot.try_into().unwrap()))
        .collect()
}

#[test]
fn decodes_and_prints_as_the_kernel_does() {
    let table = include_str!("vectors/decode.txt");
    let mut cases = 0;
    for line in table
        .lines()
        .filter(|l| !l.is_empty() && !l.starts_with('#'))
    {
        let (hex, wanted) = line.split_once("  ").unwrap();
        let insns = slots(hex);
        match (insns[0].decode(insns.get(1)), wanted.strip_prefix("! ")) {
            (Ok(op), None) => {
                assert_eq!(op.to_string(), wanted, "{hex}");
                assert_eq!(op.encode(), (insns[0], insns.get(1).copied()), "{hex}");
            }
            (Err(e), Some(message)) => {
                let text = e.to_string();
                assert!(text.starts_with(message), "{hex}: {text}, not {message}");
            }
            (got, _) => panic!("{hex} should be {wanted}, is {got:?}"),
        }
        cases += 1;
    }
    assert!(cases > 1000, "only {cases} cases");
}
