//! Running a case everywhere, and what the results have to do with each other.

use super::{Case, Kernel, Machine, Outcome, Seen, Target};
use crate::oracle;
use bpf_core::uapi::errno;
use std::cell::RefCell;
use std::time::{Duration, Instant};

/// How the results of a case relate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// It ran everywhere, with the same results.
    Same,
    /// Nobody takes it.
    NobodyTakesIt,
    /// The kernel's verifier found itself inconsistent, or bpfvisor declines, or
    /// equal runs in the kernel differ: nothing to compare.
    Incomparable(&'static str),
    /// Only bpfvisor takes it (and it ran alike, compiled and interpreted).
    OnlyOurs,
    /// Only the kernel takes it: why bpfvisor does not.
    OnlyKernel(String),
    /// Results differ: where, and how.
    Differs(&'static str, String),
    /// The VM died, or something else that must not be.
    Broken(&'static str, String),
    /// A run was cut short.
    TimedOut,
}

impl Finding {
    /// Whether results differ, or a program is refused that the kernel takes.
    pub fn is_mismatch(&self) -> bool {
        matches!(
            self,
            Self::OnlyKernel(_) | Self::Differs(..) | Self::Broken(..)
        )
    }

    /// Whether a person should look at it: a mismatch, or an accept of ours alone,
    /// which is a hole in the verifier or a deduction finer than Linux's.
    pub fn is_notable(&self) -> bool {
        self.is_mismatch() || matches!(self, Self::OnlyOurs)
    }

    /// The finding without its details.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Same => "same",
            Self::NobodyTakesIt => "rejected by all",
            Self::Incomparable(why) => why,
            Self::OnlyOurs => "accepted by bpfvisor alone",
            Self::OnlyKernel(_) => "ACCEPTED BY THE KERNEL ALONE",
            Self::Differs(..) => "RESULTS DIFFER",
            Self::Broken(..) => "BROKEN",
            Self::TimedOut => "timed out",
        }
    }

    /// What a smaller example must still show: the kind, and who disagrees.
    fn essence(&self) -> (&'static str, &'static str) {
        match self {
            Self::Differs(place, _) | Self::Broken(place, _) => (self.name(), place),
            _ => (self.name(), ""),
        }
    }
}

/// The three places together.
pub struct Fuzzer {
    kernel: Kernel,
    compiled: Machine,
    interpreted: Machine,
}

impl Fuzzer {
    /// Needs root and a usable /dev/kvm.
    pub fn new() -> Result<Self, String> {
        Ok(Self {
            kernel: Kernel::new()?,
            compiled: Machine::boot(false)?,
            interpreted: Machine::boot(true)?,
        })
    }

    /// How often a VM died.
    pub fn deaths(&self) -> u64 {
        self.compiled.deaths + self.interpreted.deaths
    }

    /// Runs a case everywhere.
    pub fn examine(&mut self, case: &Case) -> Finding {
        let finding = self.examine_all(std::slice::from_ref(case)).pop();
        finding.unwrap_or(Finding::Incomparable("not run"))
    }

    /// Runs cases everywhere, all in one place before the next: a VM that waits for
    /// its turn sleeps, and leaves its core to the others.
    pub fn examine_all(&mut self, cases: &[Case]) -> Vec<Finding> {
        let places: [&mut dyn Target; 3] =
            [&mut self.kernel, &mut self.compiled, &mut self.interpreted];
        let [kernel, compiled, interpreted] = places.map(|place| {
            let run = |case: &Case| case.is_repeatable().then(|| place.run(case));
            cases.iter().map(run).collect::<Vec<_>>()
        });
        let outcomes = kernel.iter().zip(&compiled).zip(&interpreted);
        let pairs = cases.iter().zip(outcomes);
        pairs
            .map(|(case, ((kernel, compiled), interpreted))| {
                let (Some(kernel), Some(compiled), Some(interpreted)) =
                    (kernel, compiled, interpreted)
                else {
                    return Finding::Incomparable("asks for time or chance");
                };
                match (relate(kernel, compiled, interpreted), kernel) {
                    (Finding::Differs(..), Outcome::Ran(seen)) if !self.repeats(case, seen) => {
                        Finding::Incomparable("differs from run to run")
                    }
                    (finding, _) => finding,
                }
            })
            .collect()
    }

    /// The outcome of each place: kernel, compiled, interpreted.
    pub fn outcomes(&mut self, case: &Case) -> [Outcome; 3] {
        [
            self.kernel.run(case),
            self.compiled.run(case),
            self.interpreted.run(case),
        ]
    }

    /// Whether the kernel gives the same again in another thread, on another
    /// stack with other maps: programs may let addresses out.
    fn repeats(&mut self, case: &Case, seen: &Seen) -> bool {
        let kernel = &mut self.kernel;
        let again = std::thread::scope(|s| s.spawn(|| kernel.run(case)).join());
        matches!(again, Ok(Outcome::Ran(again)) if again == *seen)
    }

    /// The smallest case found in `patience` that shows the same as this one.
    pub fn minimise(&mut self, case: &Case, finding: &Finding, patience: Duration) -> Case {
        let end = Instant::now() + patience;
        let this = RefCell::new(self);
        let shows = |trial: &Case| {
            Instant::now() < end && this.borrow_mut().examine(trial).essence() == finding.essence()
        };
        let mut best = case.clone();
        for packet in &case.packets {
            let packets = vec![packet.clone()];
            let trial = Case {
                packets,
                ..case.clone()
            };
            if best.packets.len() > 1 && shows(&trial) {
                best = trial;
            }
        }
        let packets = best.packets.clone();
        best.sample = oracle::minimise(&best.sample, |sample| {
            shows(&Case {
                sample: sample.clone(),
                packets: packets.clone(),
            })
        });
        best
    }
}

fn relate(kernel: &Outcome, compiled: &Outcome, interpreted: &Outcome) -> Finding {
    use Outcome::{Broken, Ran, Rejected, TimedOut};
    let broken = [
        ("kernel", kernel),
        ("compiled", compiled),
        ("interpreted", interpreted),
    ];
    for (place, outcome) in broken {
        if let Broken(why) = outcome {
            return Finding::Broken(place, why.clone());
        }
    }
    match (kernel, compiled, interpreted) {
        (Rejected { errno, .. }, ..) if *errno == errno::EFAULT => {
            Finding::Incomparable("the kernel's verifier failed")
        }
        (_, TimedOut, _) | (_, _, TimedOut) | (TimedOut, ..) => Finding::TimedOut,
        (
            _,
            Rejected {
                unsupported: true, ..
            },
            _,
        ) => Finding::Incomparable("unsupported"),
        (Rejected { .. }, Rejected { .. }, Rejected { .. }) => Finding::NobodyTakesIt,
        (Ran(_), Rejected { reason, .. }, Rejected { .. }) => Finding::OnlyKernel(reason.clone()),
        (kernel, Ran(compiled), Ran(interpreted)) => {
            if let Some(how) = compiled.difference(interpreted) {
                return Finding::Differs("compiled and interpreted", how);
            }
            let Ran(kernel) = kernel else {
                return Finding::OnlyOurs;
            };
            match kernel.difference(compiled) {
                Some(how) => Finding::Differs("kernel and bpfvisor", how),
                None => Finding::Same,
            }
        }
        _ => Finding::Differs(
            "verdicts of two VMs",
            format!("{compiled:?}, {interpreted:?}"),
        ),
    }
}
