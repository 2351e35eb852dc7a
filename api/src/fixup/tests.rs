#![allow(clippy::unwrap_used, clippy::panic)]
use super::*;
use std::cell::RefCell;
use std::rc::Rc;

/// Maps have fds 10..=99 and handle = fd + 1000; 100 is a program, 200 another
/// VM's, 11 a duplicate of 10.
#[derive(Default)]
struct Fake(RefCell<Vec<Rc<RawFd>>>);

impl Resolver for Fake {
    type Pin = Rc<RawFd>;

    fn map(&self, fd: RawFd) -> std::result::Result<(u32, Rc<RawFd>), NoMap> {
        match fd {
            100 => Err(NoMap::OtherKind),
            200 => Err(NoMap::OtherVm),
            10..=99 => {
                let pin = Rc::new(fd);
                self.0.borrow_mut().push(pin.clone());
                Ok((if fd == 11 { 1010 } else { fd as u32 + 1000 }, pin))
            }
            _ => Err(NoMap::NotOurs),
        }
    }
}

fn wide(src: u8, imm: i32, hi: i32) -> [Insn; 2] {
    [
        Insn::new(op::LD_IMM64, 1, src, 0, imm),
        Insn::new(0, 0, 0, 0, hi),
    ]
}
fn exit() -> Insn {
    Insn::new(op::JMP | op::EXIT, 0, 0, 0, 0)
}
fn mov(dst: u8, imm: i32) -> Insn {
    Insn::new(op::ALU64 | op::MOV, dst, 0, 0, imm)
}
fn run(insns: &[Insn], fixups: &[(u32, RawFd)], fds: &[RawFd]) -> Result<Fixed<Rc<RawFd>>> {
    fix(insns, fixups, fds, &Fake::default())
}
fn error(insns: &[Insn], fixups: &[(u32, RawFd)], fds: &[RawFd]) -> Error {
    match run(insns, fixups, fds) {
        Err(e) => e,
        Ok(_) => panic!("accepted"),
    }
}

#[test]
fn pseudo_fd_and_value_get_the_handle() {
    let prog = [wide(1, 10, 0), wide(2, 12, 24), [exit(), exit()]].concat();
    let out = run(&prog, &[], &[]).unwrap();
    assert_eq!(out.insns[0..2], wide(1, 1010, 0));
    assert_eq!(out.insns[2..4], wide(2, 1012, 24));
    assert_eq!(out.pins.len(), 2);
}

#[test]
fn fd_array_forms_become_plain_ones() {
    let prog = [wide(5, 1, 0), wide(6, 0, 8)].concat();
    let out = run(&prog, &[], &[12, 13]).unwrap();
    assert_eq!(out.insns[0..2], wide(1, 1013, 0));
    assert_eq!(out.insns[2..4], wide(2, 1012, 8));
    let e = error(&wide(5, 2, 0), &[], &[12, 13]);
    assert!(e.to_string().contains("outside fd_array"), "{e}");
    assert!(run(&wide(5, -1, 0), &[], &[12]).is_err());
}

#[test]
fn other_wide_loads_and_their_second_halves_stay() {
    let prog = [
        wide(0, 10, 7),
        [
            Insn::new(op::LD_IMM64, 1, 0, 0, 5),
            Insn::new(op::LD_IMM64, 0, 1, 0, 10),
        ],
    ]
    .concat();
    assert_eq!(run(&prog, &[], &[]).unwrap().insns, prog);
}

#[test]
fn wrong_fds_are_told_apart_and_named() {
    for (fd, errno) in [(5, 9), (-1, 9), (100, 22), (200, 18)] {
        let e = error(
            &[vec![mov(0, 0)], wide(1, fd, 0).to_vec()].concat(),
            &[],
            &[],
        );
        assert_eq!(e.errno(), errno);
        let text = e.to_string();
        assert!(text.contains("instruction 1"), "{text}");
        assert!(text.contains(&format!("fd {fd} ")), "{text}");
    }
}

#[test]
fn a_fixup_names_a_wide_load() {
    let out = run(&wide(0, 0, 99), &[(0, 10)], &[]).unwrap();
    assert_eq!(out.insns, wide(1, 1010, 0));
    let out = run(&wide(2, 77, 16), &[(0, 10)], &[]).unwrap();
    assert_eq!(out.insns, wide(2, 1010, 16));
}

#[test]
fn a_fixup_of_a_mov_makes_room_and_mends_jumps() {
    let prog = [
        Insn::new(op::JMP | op::JEQ, 1, 0, 2, 0),  // to 3
        mov(1, 0),                                 // grows
        Insn::new(op::JMP | op::CALL, 0, 1, 0, 1), // to 4
        Insn::new(op::JMP | op::JA, 0, 0, -3, 0),  // to 1
        exit(),
        Insn::new(op::JMP32 | op::JA, 0, 0, 0, -6), // to 0
    ];
    let out = run(&prog, &[(1, 10)], &[]).unwrap();
    assert_eq!(out.insns.len(), 7);
    assert_eq!(out.insns[0].off, 3);
    assert_eq!(out.insns[1..3], wide(1, 1010, 0));
    assert_eq!(out.insns[3].imm, 1);
    assert_eq!(out.insns[4].off, -4);
    assert_eq!(out.insns[6].imm, -7);
    assert_eq!(out.origin, [0, 1, 1, 2, 3, 4, 5]);
    assert_eq!(out.original(6), 5);
}

#[test]
fn making_room_moves_function_starts() {
    let prog = [mov(1, 0), exit(), mov(2, 0), exit()];
    let out = fix(&prog, &[(0, 10), (2, 12)], &[], &Fake::default()).unwrap();
    assert_eq!([out.place(0), out.place(2)], [0, 3]);
    assert_eq!(
        out.insns[3..5],
        [Insn::new(op::LD_IMM64, 2, 1, 0, 1012), Insn::default()]
    );
}

#[test]
fn a_jump_that_can_grow_no_further_is_refused() {
    let mut prog = vec![Insn::new(op::JMP | op::JA, 0, 0, i16::MAX, 0), mov(1, 0)];
    prog.resize(40_000, exit());
    assert!(
        error(&prog, &[(1, 10)], &[])
            .to_string()
            .contains("too long")
    );
}

#[test]
fn bad_fixups_are_refused_with_the_instruction() {
    let prog = [wide(0, 0, 0).to_vec(), vec![exit()]].concat();
    for (index, what) in [(1, "second half"), (2, "must name"), (3, "beyond the end")] {
        let text = error(&prog, &[(index, 10)], &[]).to_string();
        assert!(
            text.contains(what) && text.contains(&format!("instruction {index}")),
            "{text}"
        );
    }
    assert!(
        error(&prog, &[(0, 10), (0, 12)], &[])
            .to_string()
            .contains("two fixups")
    );
    // A wide load cut off at the end of the program.
    assert!(run(&prog[..1], &[(0, 10)], &[]).is_err());
}

#[test]
fn at_most_64_maps_each_counted_once() {
    let loads = |n: i32| -> Vec<Insn> { (0..n).flat_map(|i| wide(1, 20 + i, 0)).collect() };
    assert_eq!(run(&loads(64), &[], &[]).unwrap().pins.len(), 64);
    assert_eq!(error(&loads(65), &[], &[]), CallerError::TooManyMaps.into());
    let same: Vec<Insn> = (0..100).flat_map(|i| wide(1, 10 + i % 2, 0)).collect();
    assert_eq!(run(&same, &[], &[]).unwrap().pins.len(), 1);
}

fn call(helper: i32) -> Insn {
    Insn::new(op::JMP | op::CALL, 0, 0, 0, helper)
}

#[test]
fn a_fixup_of_a_call_loads_its_first_argument() {
    let prog = [
        Insn::new(op::JMP | op::JEQ, 2, 0, 1, 0), // to the call at 2
        Insn::new(op::JMP | op::JA, 0, 0, 1, 0),  // over it, to 3
        call(1),
        Insn::new(op::JMP | op::JA, 0, 0, -2, 0), // back to the call
        exit(),
    ];
    let out = run(&prog, &[(2, 10)], &[]).unwrap();
    assert_eq!(out.insns.len(), 7);
    assert_eq!(out.insns[0].off, 1, "lands on the load");
    assert_eq!(out.insns[1].off, 3);
    assert_eq!(out.insns[2..4], wide(1, 1010, 0));
    assert_eq!(out.insns[4], call(1));
    assert_eq!(out.insns[5].off, -4);
    assert_eq!(out.origin, [0, 1, 2, 2, 2, 3, 4]);
}

#[test]
fn calls_and_movs_grow_together() {
    let prog = [
        Insn::new(op::JMP | op::JA, 0, 0, 3, 0), // to 4
        mov(1, 0),
        call(2),
        mov(3, 0),
        exit(),
    ];
    let fixups = [(1, 10), (2, 12), (3, 13)];
    let out = fix(&prog, &fixups, &[], &Fake::default()).unwrap();
    assert_eq!(out.insns[0].off, 7);
    assert_eq!(out.place(4), 8);
    assert_eq!(out.insns[1..3], wide(1, 1010, 0));
    assert_eq!(out.insns[3..5], wide(1, 1012, 0));
    assert_eq!(out.insns[6], Insn::new(op::LD_IMM64, 3, 1, 0, 1013));
}

#[test]
fn only_calls_of_map_functions_take_a_map() {
    // ktime_get_ns, tail_call (whose map comes second), an unknown helper.
    for helper in [5, 12, 9999, -1] {
        let e = error(&[call(helper), exit()], &[(0, 10)], &[]);
        assert!(e.to_string().contains("call of a map function"), "{e}");
    }
    let own = Insn::new(op::JMP | op::CALL, 0, op::PSEUDO_CALL, 0, 1);
    assert!(run(&[own, exit(), exit()], &[(0, 10)], &[]).is_err());
}
