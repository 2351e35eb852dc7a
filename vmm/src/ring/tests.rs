#![allow(clippy::unwrap_used, clippy::panic)]

use bpfvisor_abi::layout::QUEUE_BLOCK;
use vm_memory::Bytes;
use zerocopy::IntoBytes;

use super::*;

/// A queue block of its own, and the guest's part played on it.
struct Queue(Vec<u64>);

impl Queue {
    fn new() -> Self {
        Self(vec![0; QUEUE_BLOCK as usize / 8])
    }

    fn slice(&mut self) -> VolatileSlice<'_> {
        VolatileSlice::from(self.0.as_mut_bytes())
    }

    fn word(&mut self, at: u64) -> u32 {
        self.slice().read_obj(at as usize).unwrap()
    }

    fn put(&mut self, at: u64, value: u32) {
        self.slice().write_obj(value, at as usize).unwrap();
    }

    fn answer(&mut self, turn: u64, status: i32) {
        let at = block::COMPLETIONS + slot(turn as u32);
        self.put(at + 4, status as u32);
        self.put(at + 8, turn as u32);
        self.put(at, stamp(turn as u32));
    }
}

#[test]
fn submission_lies_in_its_slot_and_tells_whether_to_wake() {
    let mut queue = Queue::new();
    let arg = [1, 2, 3, 4, 5, 6, 7];
    let mut home = Queue::new();
    assert!(!submit(&queue.slice(), &home.slice(), 65, 9, &arg).unwrap());
    let at = block::SUBMISSIONS + 64;
    assert_eq!(
        (queue.word(at), queue.word(at + 4), queue.word(at + 56)),
        (66, 9, 7)
    );
    queue.put(block::GUEST_ASLEEP, 1);
    assert!(!submit(&queue.slice(), &home.slice(), 66, 9, &arg).unwrap());
    home.put(block::GUEST_ASLEEP, 1);
    assert!(submit(&queue.slice(), &home.slice(), 67, 9, &arg).unwrap());
}

#[test]
fn answers_are_told_from_old_turns_and_from_rubbish() {
    let mut queue = Queue::new();
    // Also across the wrap of the 32-bit numbers.
    for first in [0, (1 << 32) - 100] {
        for turn in first..first + 200 {
            if first != 0 && turn < first + 64 {
                queue.answer(turn - 64, 0);
            }
            assert_eq!(look(&queue.slice(), turn).unwrap(), Look::Pending, "{turn}");
            queue.answer(turn, -2);
            match look(&queue.slice(), turn).unwrap() {
                Look::Answered(c) => assert_eq!((c.status, c.val[0] as u32), (-2, turn as u32)),
                other => panic!("turn {turn}: {other:?}"),
            }
        }
    }
    queue.put(block::COMPLETIONS, 77);
    assert_eq!(
        look(&queue.slice(), 0).unwrap(),
        Look::Corrupt { stamp: 77 }
    );
}

#[test]
fn message_is_cut_to_its_area() {
    let mut queue = Queue::new();
    queue
        .slice()
        .write_slice(b"text", block::MESSAGE as usize)
        .unwrap();
    assert_eq!(message(&queue.slice(), 4), "text");
    assert_eq!(message(&queue.slice(), u32::MAX), "text");
    let full = [b'x'; block::MESSAGE_LEN as usize];
    queue
        .slice()
        .write_slice(&full, block::MESSAGE as usize)
        .unwrap();
    assert_eq!(message(&queue.slice(), u32::MAX).len(), full.len());
}

#[test]
fn message_cannot_steer_a_terminal() {
    let mut queue = Queue::new();
    queue
        .slice()
        .write_slice(b"a\x1b[2Jb\xff", block::MESSAGE as usize)
        .unwrap();
    let text = message(&queue.slice(), 7);
    assert_eq!(text, "a\u{fffd}[2Jb\u{fffd}");
}
