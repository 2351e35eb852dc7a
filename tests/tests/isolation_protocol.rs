//! Programs that forge what host and runtime say to each other, in VMs without
//! verifier. They need /dev/kvm.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

use bpfvisor::uapi::{ProgType, errno};
use bpfvisor::{Cause, Error, FaultReport, MapSpec, Result, Vm};
use bpfvisor_abi::layout::{BOOT_INFO, SHARED};
use bpfvisor_abi::ring::{ENTRIES, block, slot, stamp};
use bpfvisor_tests::attack::{BUDGET, FRAME, Poker, at_queue, load, program, proof, works};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// No call takes longer: the budget, the attempts to cut it short, a busy host.
const LONGEST: Duration = Duration::from_secs(15);

/// Number of the next request.
fn next_turn(vm: &Vm) -> u32 {
    vm.stats().calls as u32
}

/// The words of a forged completion; what makes it valid comes last.
fn completion(turn: u32, seq: u32, status: i32, val: [u64; 7]) -> Vec<(u64, u64)> {
    let at = at_queue(block::COMPLETIONS + slot(turn));
    let mut words: Vec<_> = (1..)
        .zip(val)
        .map(|(n, value)| (at + n * 8, value))
        .collect();
    words.push((at, u64::from(seq) | u64::from(status as u32) << 32));
    words
}

/// What a run says of its result: R0, time, place and length of its data.
fn result(r0: u64, data: u32, len: u32) -> [u64; 7] {
    [r0, 0, u64::from(data) | u64::from(len) << 32, 0, 0, 0, 0]
}

/// Answers its own request from within, then spins. Gives what the caller got.
fn forge(vm: &Vm, status: i32, val: [u64; 7]) -> Result<u64> {
    let poker = Poker::new(vm);
    let turn = next_turn(vm);
    poker.poke_and_spin(&completion(turn, stamp(turn), status, val))
}

/// After a lie the vCPU may still be busy with it: the next call or the one after
/// is answered right.
fn recovers(vm: &Vm) {
    let sane = |vm: &Vm| {
        let program = load_or_wait(vm)?;
        program.run(&FRAME).map(|out| out.r0)
    };
    let answers: Vec<_> = (0..5).map(|_| sane(vm)).collect();
    assert_eq!(answers.last(), Some(&Ok(9)), "{answers:?}");
}

fn load_or_wait(vm: &Vm) -> Result<bpfvisor::Program> {
    vm.load(bpfvisor::ProgramSpec::xdp(program("r0 = 9\nexit")))
}

#[test]
fn a_forged_answer_is_believed_as_far_as_a_program_may_answer() {
    // The poker's input has 64 bytes and more: these lie inside.
    let values = [0, 42, u64::MAX];
    for r0 in values {
        proof(|vm| {
            assert_eq!(forge(vm, 0, result(r0, 0, 8)), Ok(r0));
            recovers(vm);
        });
    }
    proof(|vm| {
        let refused = forge(vm, -errno::EIO, [0; 7]).unwrap_err();
        assert_eq!(refused.errno(), errno::EIO);
        recovers(vm);
    });
    proof(|vm| {
        assert_eq!(
            forge(vm, -errno::ETIMEDOUT, [0; 7]),
            Err(Error::Timeout(BUDGET))
        );
        recovers(vm);
    });
}

/// The caller is told, and the VM is over.
fn broken(vm: &Vm, answer: Result<u64>, text: &str) -> Arc<FaultReport> {
    let error = answer.unwrap_err();
    assert!(matches!(error, Error::Guest(_)), "{error}");
    let report = vm.fault().unwrap();
    assert_eq!(report.cause, Cause::Protocol, "{report}");
    assert!(report.text.contains(text), "{report}");
    report
}

#[test]
fn a_status_that_is_no_errno_ends_the_vm() {
    for status in [1, i32::MAX, i32::MIN, -4096] {
        let report = proof(|vm| broken(vm, forge(vm, status, [0; 7]), "status"));
        assert_eq!(report.program.as_deref(), Some("poker"));
    }
}

#[test]
fn data_outside_its_buffer_ends_the_vm() {
    for (data, len) in [
        (0, 4097),
        (u32::MAX, 1),
        (1, u32::MAX),
        (u32::MAX, u32::MAX),
        (0x8000_0000, 0x8000_0000),
    ] {
        proof(|vm| {
            broken(
                vm,
                forge(vm, 0, result(0, data, len)),
                "outside the packet buffer",
            )
        });
    }
}

#[test]
fn a_wrong_stamp_ends_the_vm() {
    for wrong in [u32::MAX, 0x7777_7777, 1] {
        proof(|vm| {
            let poker = Poker::new(vm);
            let turn = next_turn(vm);
            let answer = poker.poke_and_spin(&completion(turn, wrong, 0, [0; 7]));
            broken(vm, answer, "stamp");
        });
    }
}

/// Whatever comes, it comes in time, and a dead VM says why.
fn typed<T: std::fmt::Debug>(vm: &Vm, what: &str, ask: impl FnOnce() -> Result<T>) -> bool {
    let begin = Instant::now();
    let answer = ask();
    assert!(
        begin.elapsed() < LONGEST,
        "{what} took {:?}",
        begin.elapsed()
    );
    if vm.is_alive() {
        return answer.is_ok();
    }
    let report = vm.fault().unwrap();
    assert!(!report.to_string().is_empty());
    false
}

/// One of each kind of call.
fn try_everything(vm: &Vm) {
    for round in 0..10 {
        typed(vm, "load", || load_or_wait(vm).and_then(|p| p.run(&FRAME)));
        typed(vm, "dump", || {
            load_or_wait(vm).and_then(|p| Ok((p.jited()?, p.xlated()?)))
        });
        typed(vm, "map", || {
            let map = vm.create_map(MapSpec::hash("map", 4, 8, 64))?;
            map.insert(&[round; 4], &[1; 8])?;
            map.remove(&[2; 4]).ok();
            map.lookup_and_delete(&[round; 4])?;
            map.get(&[round; 4])
        });
        typed(vm, "batch", || {
            load_or_wait(vm).and_then(|p| p.run_batch(&[&FRAME[..]; 5]))
        });
        let _ = vm.take_trace();
    }
}

#[test]
fn answers_given_before_they_were_asked_for_confuse_that_vm_alone() {
    // All bits of the values, and small ones that pass for handles.
    for (status, value) in [
        (0, 0),
        (0, u64::MAX),
        (0, 1),
        (-errno::ENOENT, 7),
        (-errno::ENOSPC, 0),
    ] {
        proof(|vm| {
            let poker = Poker::new(vm);
            let turn = next_turn(vm);
            let early = (1..ENTRIES).flat_map(|n| {
                let turn = turn + n;
                completion(turn, stamp(turn), status, [value; 7])
            });
            let early: Vec<_> = early.collect();
            // The input holds 256 words of two.
            for part in early.chunks(200) {
                let _ = poker.poke(part);
            }
            try_everything(vm);
        });
    }
}

#[test]
fn requests_that_nobody_made_confuse_that_vm_alone() {
    for op in [0, 1, 2, 3, 16, 17, 18, 19, 20, 24, u32::MAX] {
        proof(|vm| {
            let map = vm.create_map(MapSpec::hash("map", 4, 8, 64)).unwrap();
            map.insert(&[1; 4], &[1; 8]).unwrap();
            let poker = Poker::new(vm);
            let turn = next_turn(vm);
            let forged = (1..16).flat_map(|n| {
                let at = at_queue(block::SUBMISSIONS + slot(turn + n));
                let head = u64::from(stamp(turn + n)) | u64::from(op) << 32;
                let arg = [1, u64::from(n), 0x1000, 64, u64::MAX, 0, 0];
                let args = (1..).zip(arg).map(move |(n, value)| (at + n * 8, value));
                args.chain([(at, head)])
            });
            let _ = poker.poke(&forged.collect::<Vec<_>>());
            try_everything(vm);
            typed(vm, "old map", || map.get(&[1; 4]));
        });
    }
}

#[test]
fn a_lost_notice_delays_one_answer_a_little() {
    let spin = "
            r6 = 50000000
        again:
            r6 -= 1
            if r6 != 0 goto again";
    let words = [
        block::HOST_WAITING,
        block::GUEST_ASLEEP,
        block::STOP,
        block::PHASE,
    ];
    for (word, value) in words
        .into_iter()
        .flat_map(|w| [(w, 0u32), (w, 1), (w, u32::MAX)])
    {
        if word == block::STOP && value != 0 {
            continue; // `a_forged_wish_to_stop…`
        }
        proof(|vm| {
            let at = at_queue(word);
            let text = format!(
                "{spin}\nr1 = {at:#x} ll\nr2 = {value:#x} ll\n*(u32 *)(r1 + 0) = r2\nr0 = 6\nexit"
            );
            let liar = load(vm, program(&text));
            for _ in 0..2 {
                let begin = Instant::now();
                assert_eq!(liar.run(&FRAME).map(|out| out.r0), Ok(6));
                assert!(
                    begin.elapsed() < Duration::from_secs(2),
                    "{word:#x} {value}"
                );
            }
            works(vm);
        });
    }
}

#[test]
fn a_forged_wish_to_stop_ends_that_vm() {
    proof(|vm| {
        let poker = Poker::new(vm);
        // The vCPU may stop before the caller has seen its answer.
        let _ = poker.poke(&[(at_queue(block::STOP), 1)]);
        let begin = Instant::now();
        while vm.is_alive() && begin.elapsed() < LONGEST {
            let _ = poker.peek(SHARED);
        }
        let report = vm.fault().unwrap();
        assert_eq!(report.cause, Cause::Protocol, "{report}");
    });
}

/// Cut short again and again, it is always started anew: it says that it is no
/// program.
#[test]
fn a_program_that_hides_from_the_watchdog_ends_its_vm() {
    proof(|vm| {
        let poker = Poker::new(vm);
        let begin = Instant::now();
        let answer = poker.poke_and_spin(&[(at_queue(block::PHASE), 0)]);
        assert!(begin.elapsed() < LONGEST);
        let error = answer.unwrap_err();
        match error {
            Error::Timeout(_) => works(vm),
            _ => assert_eq!(vm.fault().unwrap().cause, Cause::Unresponsive),
        }
    });
}

#[test]
fn a_boot_record_of_garbage_harms_that_vm_alone() {
    for value in [0, u64::MAX, 0x4141_4141_4141_4141] {
        proof(|vm| {
            let record = (0..11).map(|n| (SHARED + BOOT_INFO + n * 8, value));
            let _ = Poker::new(vm).poke(&record.collect::<Vec<_>>());
            try_everything(vm);
        });
    }
}

#[test]
fn a_trace_ring_of_garbage_gives_text_of_its_length_at_most() {
    proof(|vm| {
        let poker = Poker::new(vm);
        // Positive control: text comes through.
        let text = (0x0a21_6968_u64, 4u64); // "hi!\n"
        poker
            .poke(&[
                (at_queue(block::TRACE), text.0),
                (at_queue(block::TRACE_HEAD), text.1),
            ])
            .unwrap();
        assert_eq!(vm.take_trace(), "hi!\n");
        let garbage: Vec<_> = (0..200)
            .map(|n| (at_queue(block::TRACE + n * 8), u64::MAX << (n % 64)))
            .collect();
        poker.poke(&garbage).unwrap();
        for head in [
            u64::MAX,
            1,
            1 << 63,
            0,
            1 << 32,
            block::TRACE_LEN,
            u64::MAX - 1,
        ] {
            poker.poke(&[(at_queue(block::TRACE_HEAD), head)]).unwrap();
            let begin = Instant::now();
            let text = vm.take_trace();
            assert!(
                text.chars().count() as u64 <= block::TRACE_LEN,
                "{}",
                text.len()
            );
            assert!(begin.elapsed() < Duration::from_secs(2));
        }
        works(vm);
    });
}

/// Runs a batch whose later packets overwrite a word of the first one's entry.
fn batch(vm: &Vm, word: u64, value: u32) -> (Result<()>, Vec<bpfvisor::Outcome>) {
    // The request after this load names the table.
    let turn = next_turn(vm) + 1;
    let table = at_queue(block::SUBMISSIONS + slot(turn)) + 16;
    let text = format!(
        "r1 = {table:#x} ll
         r1 = *(u64 *)(r1 + 0)
         r2 = {SHARED:#x} ll
         r1 += r2
         r3 = {value:#x} ll
         *(u32 *)(r1 + {word}) = r3
         r0 = 5
         exit"
    );
    let liar = load(vm, program(&text));
    let mut buffer = vm.packet_buffer(ProgType::Xdp, 4, 64).unwrap();
    for _ in 0..4 {
        buffer.push(&FRAME).unwrap();
    }
    let answer = liar.run_buffer(&mut buffer);
    (answer, buffer.outcomes().collect())
}

#[test]
fn a_table_of_packets_is_checked_when_it_comes_back() {
    // Offsets of the entry's fields.
    let [off, cap, data, len, retval, status, ctx, ctx_len] = [0, 4, 8, 12, 16, 20, 24, 28];
    // These are not even read, or are the program's own to say.
    for (word, value) in [
        (off, u32::MAX),
        (cap, u32::MAX),
        (ctx, 1),
        (ctx_len, u32::MAX),
    ] {
        let (answer, outcomes) = proof(|vm| batch(vm, word, value));
        assert_eq!(answer, Ok(()));
        assert!(
            outcomes
                .iter()
                .all(|o| (o.retval, o.len, o.errno) == (5, 64, 0)),
            "{outcomes:?}"
        );
    }
    let (answer, outcomes) = proof(|vm| batch(vm, retval, 77));
    assert_eq!((answer, outcomes[0].retval), (Ok(()), 77));
    let (answer, outcomes) = proof(|vm| batch(vm, status, (-5i32) as u32));
    assert_eq!((answer, outcomes[0].errno), (Ok(()), 5));
    // These would lead astray.
    for (word, value) in [
        (data, u32::MAX),
        (data, 4096),
        (len, u32::MAX),
        (len, 1 << 16),
        (status, 1),
        (status, u32::from(i16::MIN as u16)),
    ] {
        proof(|vm| {
            let (answer, _) = batch(vm, word, value);
            broken(
                vm,
                answer.map(|()| 0),
                if word == status { "status" } else { "outside" },
            );
        });
    }
}
