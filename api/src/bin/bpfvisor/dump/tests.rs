//! Machine code beside BPF.

use super::machine::disassemble;
use super::{Code, slots};
use bpfvisor::insn::Insn;

#[test]
fn places_in_the_code_are_offsets_and_others_addresses() {
    // jmp +0; call 0x9000; ret
    let code = [0xeb, 0xfe, 0xe8, 0xf9, 0x7f, 0, 0, 0xc3];
    let text: Vec<_> = disassemble(&code, 0x1000)
        .into_iter()
        .map(|line| (line.offset, line.text))
        .collect();
    let expected = [(0, "jmp short +0"), (2, "call 0x9000"), (7, "ret")];
    assert_eq!(text, expected.map(|(at, text)| (at, text.to_owned())));
}

#[test]
fn every_machine_instruction_stands_below_its_own() {
    let wide = [Insn::new(0x18, 1, 0, 0, 5), Insn::default()];
    let exit = Insn::new(0x95, 0, 0, 0, 0);
    let slots = slots(&[wide[0], wide[1], exit]);
    assert_eq!(slots.len(), 2);
    assert_eq!((slots[0].bytes.len(), slots[1].index), (16, 2));
    let code = Code {
        // push rbp; nop; nop; ret
        lines: disassemble(&[0x55, 0x90, 0x90, 0xc3], 0),
        offsets: vec![1, 3, 3, 4],
    };
    let texts = |at: usize| {
        let lines = code.lines_of(&slots[at]).iter();
        lines.map(|line| line.text.clone()).collect::<Vec<_>>()
    };
    assert_eq!(texts(0), ["push rbp", "nop", "nop"]);
    assert_eq!(texts(1), ["ret"]);
}
