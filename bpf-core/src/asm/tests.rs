#![allow(clippy::unwrap_used, clippy::panic)]
use super::assemble;
use crate::disasm::listing;
use crate::insn::{Insn, Op, Wide, build::*, op, ops};
use alloc::string::{String, ToString};
use alloc::vec::Vec;

/// xorshift, so that a failure can be repeated.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16
    }

    /// Small and zero fields are likely, since most instructions want them.
    fn field(&mut self) -> i32 {
        match self.next() % 4 {
            0 => 0,
            1 => (self.next() % 70) as i32,
            2 => [1, -1, 8, 16, 32, 64, 0xf1, 0x100, 0x110, i32::MIN, i32::MAX]
                [(self.next() % 11) as usize],
            _ => self.next() as i32,
        }
    }

    fn insn(&mut self) -> Insn {
        let (dst, src) = (self.next() % 12, self.next() % 12);
        let src = if self.next().is_multiple_of(2) {
            0
        } else {
            src
        };
        let dst = if self.next().is_multiple_of(4) {
            0
        } else {
            dst
        };
        let opcode = self.next() as u8;
        Insn::new(
            opcode,
            dst as u8,
            src as u8,
            self.field() as i16,
            self.field(),
        )
    }
}

/// Every valid instruction, written and read again, is the same.
#[test]
fn round_trip() {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let mut valid = 0;
    let mut opcodes = alloc::collections::BTreeSet::new();
    for _ in 0..400_000 {
        let (first, second) = (random.insn(), Insn::new(0, 0, 0, 0, random.field()));
        let Ok(op) = first.decode(Some(&second)) else {
            continue;
        };
        let text = op.to_string();
        let again = assemble(&text).unwrap_or_else(|e| panic!("{text}: {e}"));
        let (first, second) = op.encode();
        let wanted: Vec<Insn> = [first].into_iter().chain(second).collect();
        assert_eq!(again, wanted, "{text}");
        valid += 1;
        opcodes.insert(first.opcode);
    }
    assert!(valid > 30_000, "only {valid} were valid");
    let is_opcode = |code: &u8| {
        let with = |imm| Insn::new(*code, 0, 0, 0, imm).decode(Some(&Insn::default()));
        [0, 16, op::LOAD_ACQ]
            .into_iter()
            .any(|imm| with(imm).is_ok())
    };
    let all = (0..=u8::MAX).filter(is_opcode);
    assert_eq!(
        all.collect::<Vec<u8>>(),
        opcodes.into_iter().collect::<Vec<u8>>()
    );
}

#[test]
fn reads_its_own_listing() {
    let mut prog = Vec::from([mov64_imm(0, -1), jmp_reg(op::JNE, 0, 7, 2)]);
    prog.extend(ld_imm64(1, 0x1122_3344_5566_7788));
    prog.push(exit());
    assert_eq!(assemble(&listing(&prog)).unwrap(), prog);
}

#[test]
fn labels_become_distances() {
    let text = "
        start: r1 = 5 ll            // two slots
        if r1 > 3 goto end
        goto start
        gotol end # far
        call sub
        r2 = subprog[sub]
        end: exit
        sub:
        exit
    ";
    let ops: Vec<Op> = ops(&assemble(text).unwrap())
        .map(|(_, op)| op.unwrap())
        .collect();
    let distances: Vec<Option<i32>> = ops.iter().map(Op::jump).collect();
    let wanted = [None, Some(5), Some(-4), Some(3), None, None, None, None];
    assert_eq!(distances, wanted);
    assert_eq!(ops[4], Op::CallLocal { off: 3 });
    let dst = crate::insn::Reg::R2;
    let value = Wide::Func { rel: 2 };
    assert_eq!(ops[5], Op::LoadWide { dst, value });
}

#[test]
fn spacing_and_number_base_do_not_matter() {
    let same = [
        ("r1+=-8", "r1 += -8"),
        ("*( u64 * ) ( r10 - 8 )=r1", "*(u64 *)(r10 -8) = r1"),
        ("r2 = *(u8*)(r1)", "r2 = *(u8 *)(r1 +0)"),
        ("if r1 s> -2 goto +1", "if r1 s> 0xfffffffe goto pc+1"),
        ("w1 = 0xffffffff", "w1 = -1"),
        ("r1 += 0x10", "r1 += 16"),
        ("call 5", "call bpf_ktime_get_ns#5"),
        ("call bpf_ktime_get_ns", "call bpf_ktime_get_ns#5"),
        ("r1 = 0x5", "r1 = 5 ll"),
        ("r1 = -1 ll", "r1 = 0xffffffffffffffff"),
        ("r0 = *(u8 *)skb[r2 - 1]", "r0 = *(u8 *)skb[r2 + -1]"),
    ];
    for (a, b) in same {
        assert_eq!(assemble(a).unwrap(), assemble(b).unwrap(), "{a}");
    }
}

#[test]
fn errors_name_place_and_cause() {
    let cases = [
        (
            "r0 = 1\n  frob r1",
            "2:3: no instruction begins with 'frob'",
        ),
        ("r0 = r11", "1:6: 'r11' is not a value"),
        (
            "r0 = w1",
            "1:6: both registers must be whole (r) or both half (w)",
        ),
        (
            "r0 += 4294967296",
            "1:7: number does not fit in a signed 32-bit immediate",
        ),
        (
            "r0 = 4294967296",
            "1:6: number does not fit in 32 bits; add 'll'",
        ),
        ("r0 = 1 2", "1:8: expected the end of the line, found '2'"),
        (
            "r0 = *(u24 *)(r1 +0)",
            "1:8: expected a type such as u32, found 'u24'",
        ),
        (
            "r0 = *(u32 *)(r1 +40000)",
            "1:18: offset does not fit in 16 bits",
        ),
        ("goto nowhere", "1:1: no label 'nowhere'"),
        ("a:\na: exit", "2:1: label 'a' is defined twice"),
        ("r0 <<= 64", "1:1: invalid shift 64"),
        ("r0 /= 0", "1:1: div by zero"),
        (
            "call bpf_ktime_get_ns#6",
            "1:6: helper 6 is not 'bpf_ktime_get_ns'",
        ),
        (
            "r1 = atomic64_xchg((u32 *)(r2 +0), r1)",
            "1:6: atomic_… is for u32, atomic64_… for u64",
        ),
        (
            "r0 = 0x10000000000000000",
            "1:6: '0x10000000000000000' is not a number of at most 64 bits",
        ),
        ("é", "1:1: 'é' has no meaning here"),
        (
            "if r0 = 1 goto +1",
            "1:7: expected a comparison such as '==' or 's<'",
        ),
    ];
    for (text, wanted) in cases {
        let error = assemble(text).unwrap_err().to_string();
        assert_eq!(error, wanted, "{text}");
    }
}

#[test]
fn far_labels_need_gotol() {
    let filler = "r0 = 0\n".repeat(40_000);
    let text: String = ["goto end\n", &filler, "end: exit"].concat();
    let error = assemble(&text).unwrap_err();
    assert!(error.message.contains("gotol"), "{error}");
    assert!(assemble(&text.replace("goto", "gotol")).is_ok());
}

#[test]
fn arbitrary_text_never_panics() {
    let pieces = [
        "r1",
        "w2",
        "=",
        "+=",
        "*",
        "(",
        ")",
        "u32",
        "s8",
        "if",
        "goto",
        "pc",
        "+",
        "-",
        "5",
        "0x",
        "lock",
        "call",
        "#",
        "map",
        "[",
        "]",
        "id",
        ":",
        "subprog",
        "é",
        "//",
        "skb",
        " ",
        "9223372036854775808",
        "atomic_xchg",
        "ll",
        "\n",
        ",",
        "2147483648",
    ];
    let mut random = Random(1);
    for _ in 0..50_000 {
        let length = random.next() % 12;
        let text: String = (0..length)
            .map(|_| pieces[(random.next() % pieces.len() as u64) as usize])
            .collect();
        let _ = assemble(&text);
    }
}
