//! The host's side of the protocol without KVM: a script plays the guest.
//!
//! Between a request and the host's look for its answer the script writes what it
//! likes to shared memory, and then answers. Nothing here waits, so that a fuzzer
//! tries thousands of scripts a second. Only in tests and with `--cfg fuzzing`.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bpfvisor_abi::layout;
use bpfvisor_abi::op::{LoadRecord, MapRecord, Packet, Run};
use bpfvisor_abi::ring::{block, slot, stamp};
use zerocopy::FromZeros;

use crate::config::Config;
use crate::core::Core;
use crate::error::CallError;
use crate::image::Image;
use crate::load::{LoadError, LoadRequest, TypeInfo};
use crate::object::Object;
use crate::ring;
use crate::shared::SharedMemory;
use crate::vm::Vm;

/// What a script does with its next bytes; zeroes when it is over.
#[derive(Debug, Default)]
struct Script {
    bytes: Vec<u8>,
    at: usize,
}

impl Script {
    fn is_over(&self) -> bool {
        self.at >= self.bytes.len()
    }

    fn take<const N: usize>(&mut self) -> [u8; N] {
        let mut out = [0; N];
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        for (to, from) in out.iter_mut().zip(rest) {
            *to = *from;
        }
        self.at += N;
        out
    }

    fn byte(&mut self) -> u8 {
        let [byte] = self.take();
        byte
    }

    /// A number of the kinds that hurt.
    fn number(&mut self) -> u64 {
        match self.byte() % 8 {
            0 => 0,
            1 => u64::MAX,
            2 => u64::from(self.byte()),
            3 => 1 << (self.byte() % 64),
            4 => u64::from(u32::from_le_bytes(self.take())),
            5 => u64::from(u16::from_le_bytes(self.take())),
            6 => (1u64 << (self.byte() % 64)).wrapping_sub(1),
            _ => u64::from_le_bytes(self.take()),
        }
    }
}

/// Who answers requests in the place of a vCPU.
#[derive(Clone, Default)]
pub(crate) struct Guest(Arc<Mutex<Option<Script>>>);

impl fmt::Debug for Guest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Guest")
    }
}

impl Guest {
    /// Called by the host between a request and the first look for its answer.
    pub(crate) fn plays(&self, core: &Core, vcpu: u32, turn: u64, arg: &[u64; 7]) {
        let mut script = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(script) = script.as_mut() else {
            return;
        };
        let queue = layout::queue_block(vcpu);
        for _ in 0..script.byte() % 4 {
            let place = match script.byte() % 4 {
                0 => queue + script.number() % layout::QUEUE_BLOCK,
                1 => arg[0].wrapping_add(script.number() % 1024),
                2 => arg[1].wrapping_add(script.number() % 512),
                _ => script.number(),
            };
            let word = script.number().to_le_bytes();
            let len = 1 + usize::from(script.byte() % 8);
            // Outside there is nothing that it could write to.
            let _ = core.shared.write(place, &word[..len]);
        }
        let n = turn as u32;
        let entry = queue + block::COMPLETIONS + slot(n);
        let how = script.byte();
        let status = match how % 16 {
            0..12 => 0,
            15 => script.number() as i32,
            _ => -((script.number() % 4096) as i32),
        };
        let _ = core.shared.write(entry + 4, &status.to_le_bytes());
        for word in 0..u64::from(script.byte() % 8) {
            let value = script.number().to_le_bytes();
            let _ = core.shared.write(entry + 8 + 8 * word, &value);
        }
        let number = match how {
            // Never one that means "not yet": that is only a matter of waiting.
            255 => script.number() as u32 | 1 << 31,
            _ => stamp(n),
        };
        let _ = core.shared.write(entry, &number.to_le_bytes());
    }
}

/// What came of a script.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Played {
    /// Requests made.
    pub calls: u32,
    /// Of these, answered without an error.
    pub answered: u32,
    /// The host declared the VM dead.
    pub died: bool,
}

/// A host without a machine.
#[derive(Debug)]
pub struct Player {
    shared: Arc<SharedMemory>,
    image: Image,
}

/// Longest time that one script may take.
const LONGEST: Duration = Duration::from_secs(5);

impl Player {
    /// # Errors
    /// Without memory.
    pub fn new() -> Result<Self, crate::BootError> {
        let config = config().checked()?;
        Ok(Self {
            shared: Arc::new(SharedMemory::new(config.shared_bytes)?),
            image: Image::embedded()?,
        })
    }

    /// Makes requests as a script says while it plays the guest.
    ///
    /// # Panics
    /// If the host gives an answer that it should have refused, or hangs.
    #[allow(clippy::panic)]
    pub fn play(&self, script: &[u8]) -> Played {
        let begin = Instant::now();
        self.shared.clear(0, layout::queue_block(1));
        let config = match config().checked() {
            Ok(config) => config,
            Err(e) => panic!("{e}"),
        };
        let core = Core::new(config, self.image.clone(), Arc::clone(&self.shared));
        let core = core.unwrap_or_else(|e| panic!("no doorbells: {e}"));
        let guest = core.player.clone();
        *guest.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Script {
            bytes: script.into(),
            at: 0,
        });
        let vm = Vm::without_machine(core);
        let mut game = Game {
            vm: &vm,
            guest: &guest,
            objects: Vec::new(),
            played: Played::default(),
        };
        while !game.over() && vm.fault().is_none() && game.played.calls < 64 {
            game.step();
        }
        let mut played = game.played;
        drop(game);
        played.died = vm.fault().is_some();
        if let Some(report) = vm.fault() {
            assert!(!report.to_string().is_empty());
        }
        drop(vm);
        assert!(begin.elapsed() < LONGEST, "the host hung");
        played
    }
}

fn config() -> Config {
    Config {
        shared_bytes: 4 << 20,
        heap_bytes: 2 << 20,
        client_spins: 2,
        call_timeout: Duration::ZERO,
        ..Config::default()
    }
}

struct Game<'a> {
    vm: &'a Vm,
    guest: &'a Guest,
    objects: Vec<Arc<Object>>,
    played: Played,
}

impl Game<'_> {
    fn script<T>(&self, with: impl FnOnce(&mut Script) -> T) -> T {
        let mut script = self.guest.0.lock().unwrap_or_else(PoisonError::into_inner);
        with(script.get_or_insert_with(Script::default))
    }

    fn over(&self) -> bool {
        self.script(|s| s.is_over())
    }

    fn done<T>(&mut self, answer: Result<T, CallError>) -> Option<T> {
        self.played.calls += 1;
        self.played.answered += u32::from(answer.is_ok());
        if let Err(e) = &answer {
            assert!(e.errno() > 0 && e.errno() < 4096, "{e}");
        }
        answer.ok()
    }

    fn step(&mut self) {
        match self.script(Script::byte) % 8 {
            0 => {
                let answer = self.vm.call(0, [1; 7]);
                self.done(answer);
            }
            1 => self.load(),
            2 => self.map(),
            3 => self.run(),
            4 => self.batch(),
            5 => {
                let text = self.vm.take_trace();
                assert!(text.chars().count() as u64 <= block::TRACE_LEN);
            }
            6 => self.message(),
            _ => {
                self.objects.pop();
            }
        }
    }

    fn load(&mut self) {
        let len = self.script(Script::byte) % 9;
        let request = LoadRequest {
            record: LoadRecord::new_zeroed(),
            insns: &[0x95, 0, 0, 0, 0, 0, 0, 0].repeat(usize::from(len)),
            types: TypeInfo::default(),
            maps: self.objects.clone(),
            note: Vec::new(),
            log_len: 64,
        };
        let answer = match self.vm.load(request) {
            Ok(loaded) => {
                assert!(loaded.log.len() <= 64);
                Ok(loaded.object)
            }
            Err(LoadError::Call(e)) => Err(e),
            Err(LoadError::Rejected { errno, message, .. }) => {
                assert!(errno > 0 && message.chars().count() <= 256);
                Err(CallError::Errno { errno })
            }
        };
        let object = self.done(answer);
        self.objects.extend(object);
    }

    fn map(&mut self) {
        let Ok(storage) = self.vm.alloc(4096, 4096) else {
            return;
        };
        let answer = self
            .vm
            .create_map(MapRecord::default(), storage, Vec::new());
        let object = self.done(answer);
        self.objects.extend(object);
    }

    /// A packet buffer of 256 bytes, whose data ends behind the headroom.
    fn packet(&self) -> Option<(crate::Block, Packet)> {
        let room = self.vm.alloc_low(256, 64).ok()?;
        let packet = Packet {
            off: room.offset() as u32,
            cap: 256,
            data: 64,
            len: 64,
            ..Packet::default()
        };
        Some((room, packet))
    }

    fn run(&mut self) {
        let (Some(object), Some((_room, packet))) = (self.objects.last(), self.packet()) else {
            return;
        };
        let run = Run {
            repeat: 1,
            packet,
            ..Run::default()
        };
        let answer = self.vm.run(object, run);
        if let Some(result) = self.done(answer) {
            let end = u64::from(result.data) + u64::from(result.len);
            assert!(end <= 256, "data outside its buffer: {result:?}");
        }
    }

    fn batch(&mut self) {
        let (Some(object), Some((_room, packet))) = (self.objects.last(), self.packet()) else {
            return;
        };
        let count = 1 + self.script(Script::byte) % 5;
        let mut packets = vec![packet; usize::from(count)];
        let answer = self.vm.run_batch(object, &mut packets);
        if self.done(answer).is_some() {
            for p in packets {
                let end = u64::from(p.data) + u64::from(p.len);
                assert!(end <= 256 && (-4095..=0).contains(&p.status), "{p:?}");
                assert_eq!((p.off, p.cap), (packet.off, packet.cap), "the host's own");
            }
        }
    }

    fn message(&mut self) {
        let len = self.script(Script::number) as u32;
        let at = layout::queue_block(0) as usize;
        let shared = self.vm.shared().slice();
        if let Ok(queue) = shared.subslice(at, layout::QUEUE_BLOCK as usize) {
            let text = ring::message(&queue, len);
            assert!(text.len() as u64 <= 3 * block::MESSAGE_LEN);
            assert!(text.chars().all(|c| c == '\n' || !c.is_control()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random;

    /// A slice of what the fuzz target does (docs/fuzzing.md), without guidance.
    #[test]
    fn no_script_gets_more_than_errors() {
        let player = Player::new().unwrap();
        let mut state = random::seed().unwrap()[0] | 1;
        let mut total = Played::default();
        let (mut cases, mut deaths) = (0u64, 0u64);
        let begin = Instant::now();
        while begin.elapsed() < Duration::from_secs(4) {
            let mut script = Vec::new();
            for _ in 0..40 {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                script.extend_from_slice(&state.to_le_bytes());
            }
            let played = player.play(&script);
            total.calls += played.calls;
            total.answered += played.answered;
            deaths += u64::from(played.died);
            cases += 1;
        }
        println!("{cases} scripts, {total:?}, {deaths} deaths");
        assert!(total.answered > 1000 && deaths > 100, "{total:?} {deaths}");
        assert!(total.answered < total.calls);
    }
}
