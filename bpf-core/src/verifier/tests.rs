//! What needs no oracle. The verdicts are in `tests/cases/`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
use super::*;
use crate::asm::assemble;
use crate::program::{FlatMemory, MapDesc, TypeInfo};
use crate::uapi::{MapType, ProgType};
use std::format;

/// One array.
struct OneMap;

impl MapTable for OneMap {
    fn map(&self, handle: u32) -> Option<MapDesc> {
        (handle == 1).then_some(MapDesc {
            handle,
            map_type: MapType::Array,
            key_size: 4,
            value_size: 48,
            max_entries: 8,
            flags: 0,
            frozen: false,
            spin_lock_off: None,
            inner: None,
            object_addr: 0,
            values_addr: 0,
            value_stride: 48,
        })
    }

    fn read_constant(&self, _: u32, _: u32, _: u32) -> Option<u64> {
        None
    }
}

fn outcome(prog_type: ProgType, text: &str, insn_budget: u32, log_level: u32) -> Outcome {
    let insns = assemble(text).unwrap();
    let desc = ProgramDesc {
        insns: &insns,
        prog_type,
        attach_type: 0,
        flags: 0,
        gpl: true,
        flat: FlatMemory::default(),
        types: TypeInfo::default(),
    };
    let opts = Options {
        log_level,
        insn_budget,
        spent: &|| None,
    };
    verify(&desc, &OneMap, &opts)
}

#[test]
fn programs_that_never_come_to_an_end_stop_at_the_budget() {
    // Every round differs, forks, and changes the stack somewhere else.
    let text = "r9 = r1\nr7 = 0\nr8 = 0\na: r0 = *(u32 *)(r9 +0)\nif r0 == 5 goto b\nr8 += 1\n\
         *(u64 *)(r10 -8) = r8\nb: r7 += 1\nr1 = r10\nr2 = r8\nr2 &= 63\nr1 += -72\nr1 += r2\n\
         *(u8 *)(r1 +0) = 1\nif r7 < 100000 goto a\nr0 = 0\nexit";
    let answer = outcome(ProgType::SocketFilter, text, 60_000, 0);
    assert_eq!(answer.verdict.unwrap_err().errno, 7);
}

#[test]
fn reasons_are_one_line_and_logs_may_have_two() {
    let text = "*(u64 *)(r10 -8) = 0\nr2 = r10\nr2 += -8\nr1 = map[id:1]\n\
         call bpf_map_lookup_elem\nif r0 == 0 goto out\nr0 = *(u64 *)(r0 +41)\nout: r0 = 0\nexit";
    let outcome = outcome(ProgType::Xdp, text, 1000, 1);
    let reason = outcome.verdict.unwrap_err().reason;
    let (access, bound) = (
        "invalid access to map value, value_size=48 off=41 size=8",
        "R0 min value is outside of the allowed memory range",
    );
    assert_eq!(reason, format!("{access}: {bound}"));
    assert!(outcome.log.contains(&format!("{access}\n{bound}\n")));
    // Not by its handle, which is 1.
    assert!(outcome.log.contains("(18) r1 = map[idx:0]"));
}

/// The cases come with BTF; these are about programs without.
#[test]
fn without_btf_only_the_main_function_may_end_the_program_halfway() {
    let around = |body: &str| {
        format!("r6 = r1\nif r6 != 0 goto pc+1\ncall pc+2\nr0 = 1\nexit\n{body}\nr0 = 0\nexit")
    };
    for (body, what) in [
        ("r0 = *(u16 *)skb[10]", "LD_ABS"),
        ("call bpf_tail_call", "tail_call"),
    ] {
        // Linux asks before it knows that the function is never called.
        let text = around(body);
        let reject = outcome(ProgType::SocketFilter, &text, 1000, 0).verdict;
        let reject = reject.unwrap_err();
        assert_eq!(reject.errno, 22);
        assert_eq!(
            reject.reason,
            format!("{what} is not allowed in subprogs without BTF")
        );
    }
    let harmless = outcome(ProgType::SocketFilter, &around("r0 = 2"), 1000, 0);
    assert!(harmless.verdict.is_ok());
}
