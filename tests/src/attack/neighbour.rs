//! A VM beside the one that is attacked, and whether it stays whole.

use super::{FRAME, program};
use bpfvisor::{Map, MapSpec, Program, ProgramSpec, Vm};
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

/// A verified program in a VM of its own that counts its runs in a map, run over
/// and over by a thread that compares.
#[derive(Debug, Default)]
pub struct Neighbour {
    rounds: AtomicU64,
    wrong: Mutex<Option<String>>,
}

/// Between two rounds: the machine belongs to the attack.
const PAUSE: Duration = Duration::from_millis(2);
/// A busy machine may keep a thread waiting.
const PATIENCE: Duration = Duration::from_secs(20);

fn build() -> bpfvisor::Result<(Program, Map)> {
    let vm = Vm::builder().memory(8 << 20).heap(16 << 20).boot()?;
    let map = vm.create_map(MapSpec::array("rounds", 8, 1))?;
    let fd = map.as_raw_fd();
    let insns = program(&format!(
        "r1 = map[id:{fd}][0]+0
         r0 = *(u64 *)(r1 + 0)
         r0 += 1
         *(u64 *)(r1 + 0) = r0
         exit"
    ));
    Ok((vm.load(ProgramSpec::xdp(insns))?, map))
}

impl Neighbour {
    /// The process's neighbour.
    fn get() -> &'static Self {
        static NEIGHBOUR: OnceLock<Neighbour> = OnceLock::new();
        static STARTING: Mutex<bool> = Mutex::new(false);
        let neighbour = NEIGHBOUR.get_or_init(Self::default);
        let mut started = STARTING.lock().unwrap_or_else(PoisonError::into_inner);
        if !std::mem::replace(&mut started, true) {
            std::thread::spawn(|| neighbour.live());
        }
        neighbour
    }

    fn live(&self) {
        let told = match build() {
            Ok((program, map)) => self.count(&program, &map),
            Err(e) => format!("it was not built: {e}"),
        };
        *self.wrong.lock().unwrap_or_else(PoisonError::into_inner) = Some(told);
    }

    /// Counts until something is wrong.
    fn count(&self, program: &Program, map: &Map) -> String {
        for round in 1u64.. {
            match program.run(&FRAME) {
                Ok(out) if out.r0 == round && out.data == FRAME => {}
                other => return format!("round {round} gave {other:?}"),
            }
            match map.get(&[0; 4]) {
                Ok(Some(value)) if value == round.to_ne_bytes() => {}
                other => return format!("the map has {other:?} in round {round}"),
            }
            self.rounds.store(round, Ordering::SeqCst);
            std::thread::sleep(PAUSE);
        }
        "all rounds are over".into()
    }

    /// Waits for rounds that began after now.
    ///
    /// # Panics
    /// If none comes, or a wrong one.
    #[allow(clippy::panic)]
    fn answers(&self) {
        let begin = Instant::now();
        let before = self.rounds.load(Ordering::SeqCst);
        while self.rounds.load(Ordering::SeqCst) < before + 2 {
            let wrong = self.wrong.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(text) = &*wrong {
                panic!("the neighbour was harmed: {text}");
            }
            drop(wrong);
            assert!(begin.elapsed() < PATIENCE, "the neighbour does not answer");
            std::thread::sleep(PAUSE);
        }
    }

    /// Does something while the neighbour answers: before, meanwhile, after.
    ///
    /// # Panics
    /// If it does not.
    pub fn beside<T>(work: impl FnOnce() -> T) -> T {
        let neighbour = Self::get();
        neighbour.answers();
        let result = work();
        neighbour.answers();
        result
    }
}
