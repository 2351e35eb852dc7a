//! Ring buffers: random sequences of reservations, commits, outputs and
//! questions answer alike, and the consumer gets the same records.

use super::pair::vm;
use bpf_core::asm::assemble;
use bpf_core::uapi::{MapType, ProgType};
use bpfvisor::{Map, MapSpec, ProgramSpec, RingBuffer, Vm};
use bpfvisor_tests::generate::Rng;
use bpfvisor_tests::kernel;
use std::fmt::Write;
use std::os::fd::AsRawFd;

/// Bytes of the rings: no more than a page, so that they are often full.
const SIZE: u32 = 4096;
/// Most operations of a program, each with a word for its answer.
const OPS: u64 = 6;

/// Bytes of a record, mostly few; as an operand.
fn size(rng: &mut Rng) -> u64 {
    match rng.below(8) {
        0 => rng.pick(&[4080, 4081, 4088, 4089, 4096, 1 << 30, (1 << 30) + 1]),
        1 => rng.below(2000) + 1,
        _ => rng.below(64) + 1,
    }
}

/// Flags of outputs and commits. A commit knows none as wrong.
fn flags(rng: &mut Rng) -> u64 {
    rng.pick(&[0, 0, 0, 1, 2, 3, 4, 1 << 40])
}

/// A program of random operations; what each answers is left in the array `io`.
fn text(rng: &mut Rng) -> String {
    let mut t = String::from("r9 = map[id:IO][0]+0\n");
    for n in 0..rng.below(OPS) + 1 {
        let at = 8 * n;
        match rng.below(8) {
            0..=2 => reserved(&mut t, rng, at),
            3..=5 => {
                // As many bytes as there are to read.
                let size = size(rng).min(2048);
                let flags = flags(rng);
                let _ = write!(
                    t,
                    "r1 = map[id:MAP]\nr2 = r9\nr2 += 64\nr3 = {size}\nr4 = {flags:#x} ll\n\
                     call bpf_ringbuf_output\n*(u64 *)(r9 +{at}) = r0\n"
                );
            }
            _ => {
                let what = rng.pick(&[0u64, 1, 2, 3, 4, 99, 1 << 33]);
                let _ = write!(
                    t,
                    "r1 = map[id:MAP]\nr2 = {what:#x} ll\ncall bpf_ringbuf_query\n\
                     *(u64 *)(r9 +{at}) = r0\n"
                );
            }
        }
    }
    t + "r0 = 2\nexit\n"
}

/// Reserves, writes the first and the last byte, and commits or discards.
fn reserved(t: &mut String, rng: &mut Rng, at: u64) {
    let size = size(rng);
    let wrong = u64::from(rng.one_in(12));
    let commit = rng.pick(&["submit", "submit", "discard"]);
    let (byte, flags) = (rng.below(256), flags(rng));
    // All of it, so that no remains of earlier records are compared.
    let fill = match size <= 64 {
        true => (0..size)
            .map(|i| format!("*(u8 *)(r0 +{i}) = {byte}\n"))
            .collect::<String>(),
        false => String::new(),
    };
    let commit = if size <= 64 { commit } else { "discard" };
    let _ = write!(
        t,
        "r1 = map[id:MAP]\nr2 = {size}\nr3 = {wrong}\ncall bpf_ringbuf_reserve\n\
         r1 = 0\nif r0 == 0 goto none{at}\n{fill}r1 = r0\nr2 = {flags:#x} ll\n\
         call bpf_ringbuf_{commit}\nr1 = 1\nnone{at}:\n*(u64 *)(r9 +{at}) = r1\n"
    );
}

struct Two {
    vm: Vm,
    map: Map,
    theirs: kernel::Map,
    io: [Map; 1],
    their_io: kernel::Map,
    ring: RingBuffer,
    their_ring: kernel::Ring,
}

/// Bytes of the array that holds answers and what is sent.
const IO: u32 = 64 + 2048;

impl Two {
    fn new() -> Self {
        kernel::require().unwrap();
        let vm = vm();
        let map = vm.create_map(MapSpec::ringbuf("r", SIZE)).unwrap();
        let theirs = kernel::MapSpec::new(MapType::Ringbuf, 0, 0, SIZE);
        let theirs = kernel::Map::create(&theirs).unwrap();
        let io = vm.create_map(MapSpec::array("io", IO, 1)).unwrap();
        let their_io = kernel::MapSpec::new(MapType::Array, 4, IO, 1);
        let their_io = kernel::Map::create(&their_io).unwrap();
        Self {
            ring: map.ring_buffer().unwrap(),
            their_ring: theirs.ring(SIZE).unwrap(),
            vm,
            map,
            theirs,
            io: [io],
            their_io,
        }
    }

    /// Runs a program on both sides. Answers what it left, or the verifiers'
    /// opinion.
    fn run(&self, text: &str, sent: &[u8]) -> [Option<Vec<u8>>; 2] {
        let code = |map: i32, io: i32| {
            let text = text.replace("MAP", &map.to_string());
            assemble(&text.replace("IO", &io.to_string())).unwrap()
        };
        let (map, io) = (&self.map, &self.io[0]);
        let ours = code(map.as_raw_fd(), io.as_raw_fd());
        let theirs = code(self.theirs.as_raw_fd(), self.their_io.as_raw_fd());
        let ours = self.vm.load(ProgramSpec::xdp(ours));
        let theirs = kernel::Prog::load(&kernel::ProgSpec::new(ProgType::Xdp, &theirs));
        assert_eq!(ours.is_ok(), theirs.is_ok(), "{text}\n{ours:?}");
        let (Ok(ours), Ok(theirs)) = (ours, theirs) else {
            return [None, None];
        };
        io.insert(&[0; 4], sent).unwrap();
        self.their_io.update(&[0; 4], sent, 0).unwrap();
        ours.run(&[0; 64]).unwrap();
        theirs.run(&kernel::RunSpec::data(&[0; 64])).unwrap();
        [
            io.get(&[0; 4]).unwrap(),
            self.their_io.lookup(&[0; 4]).unwrap(),
        ]
    }

    /// Takes all records of both sides.
    fn records(&mut self) -> [Vec<Vec<u8>>; 2] {
        let mut all = [Vec::new(), Vec::new()];
        self.ring.drain(|r| all[0].push(r.to_vec()));
        self.their_ring.drain(|r| all[1].push(r.to_vec()));
        all
    }
}

#[test]
fn random_sequences() {
    let mut two = Two::new();
    let mut rng = Rng::new(21);
    let (mut ran, mut records) = (0, 0);
    for round in 0..600 {
        let text = text(&mut rng);
        let mut sent = vec![0; 64];
        sent.extend((64..IO).map(|_| rng.below(256) as u8));
        let [ours, theirs] = two.run(&text, &sent);
        assert_eq!(ours, theirs, "round {round}: ours, the kernel's\n{text}");
        ran += u32::from(ours.is_some());
        if rng.one_in(3) {
            let [ours, theirs] = two.records();
            assert_eq!(ours, theirs, "round {round}: ours, the kernel's\n{text}");
            records += ours.len();
        }
    }
    assert!(ran > 400 && records > 400, "{ran} ran, {records} records");
}

/// What the commands on elements answer.
#[test]
fn commands_are_refused_alike() {
    let two = Two::new();
    let (ours, theirs) = (&two.map, &two.theirs);
    let none = |r: bpfvisor::Result<()>| r.map_err(|e| e.errno());
    let a = [
        none(ours.update(&[], &[], 0)),
        none(ours.get(&[]).map(drop)),
        none(ours.remove(&[])),
        none(ours.next_key(None).map(drop)),
        none(ours.lookup_and_delete(&[]).map(drop)),
        none(ours.freeze()),
    ];
    let b = [
        theirs.update(&[], &[], 0),
        theirs.lookup(&[]).map(drop),
        theirs.delete(&[]),
        theirs.next_key(None).map(drop),
        theirs.lookup_and_delete(&[]).map(drop),
        theirs.freeze(),
    ];
    let b = b.map(|r| r.map_err(|e| e.errno));
    assert_eq!(a, b, "ours, the kernel's");
}
