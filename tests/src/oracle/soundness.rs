//! Whether runs stay inside what the verifier believed.
//!
//! An accepted program runs in a hostile [`World`]. Any access that the world
//! refuses is a hole. Before each instruction every number, pointer and spilled
//! number must lie in one of the states with which the verifier came there; for
//! that it verifies once more without leaving numbers out of comparisons.

use super::world::{Bases, World};
use crate::generate::Rng;
use bpf_core::insn::{Insn, Reg, Size};
use bpf_core::interp::{self, Observer, Runtime, TrapKind};
use bpf_core::program::{FlatMemory, MapDesc, MapTable, Program, ProgramDesc, TypeInfo};
use bpf_core::uapi::ProgType;
use bpf_core::verifier::{self, RegView, View};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::rc::Rc;

/// Instructions that one run may take.
const FUEL: u64 = 20_000;
/// Instructions that the second verification may take.
const BUDGET: u32 = 30_000;

/// What came of one program.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// The program was accepted and ran.
    pub ran: bool,
    /// Its states were compared, too.
    pub compared: bool,
    /// What was wrong.
    pub hole: Option<String>,
}

/// The views of each instruction.
#[derive(Default)]
struct Views(BTreeMap<usize, Vec<View>>);

impl verifier::Observer for Views {
    fn visit(&mut self, insn: usize, view: &View) {
        self.0.entry(insn).or_default().push(view.clone());
    }
}

struct Maps<'m>(&'m [MapDesc]);

impl MapTable for Maps<'_> {
    fn map(&self, handle: u32) -> Option<MapDesc> {
        self.0.iter().find(|m| m.handle == handle).cloned()
    }

    fn read_constant(&self, _handle: u32, _off: u32, _size: u32) -> Option<u64> {
        None
    }
}

/// Verifies the program and, if it is accepted, runs it `runs` times.
pub fn examine(desc: &ProgramDesc<'_>, maps: &[MapDesc], runs: u32, seed: u64) -> Outcome {
    let mut outcome = Outcome::default();
    let table = Maps(maps);
    let options = |insn_budget| verifier::Options {
        log_level: 0,
        insn_budget,
        spent: &|| None,
    };
    let (plain, thorough) = (options(200_000), options(BUDGET));
    let Ok(program) = verifier::verify(desc, &table, &plain).verdict else {
        return outcome;
    };
    let mut views = Views::default();
    let again = verifier::verify_observed(desc, &table, &thorough, Some(&mut views));
    outcome.ran = true;
    outcome.compared = again.verdict.is_ok();
    for nr in 0..runs {
        let rng = Rng::new(seed.wrapping_mul(31).wrapping_add(nr.into()));
        let views = outcome.compared.then_some(&views);
        outcome.hole = run(desc, &program, maps, views, rng);
        if outcome.hole.is_some() {
            break;
        }
    }
    outcome
}

/// Runs the XDP program `real` against what was believed of another one, to see
/// that the check notices.
pub fn confuse(believed: &[Insn], real: &[Insn], maps: &[MapDesc], seed: u64) -> Option<String> {
    let desc = ProgramDesc {
        insns: believed,
        prog_type: ProgType::Xdp,
        attach_type: 0,
        flags: 0,
        gpl: true,
        flat: FlatMemory::default(),
        types: TypeInfo::default(),
    };
    let options = verifier::Options {
        log_level: 0,
        insn_budget: BUDGET,
        spent: &|| None,
    };
    let mut views = Views::default();
    verifier::verify_observed(&desc, &Maps(maps), &options, Some(&mut views));
    let program = verifier::unverified(real).ok()?;
    run(&desc, &program, maps, Some(&views), Rng::new(seed))
}

fn run(
    desc: &ProgramDesc<'_>,
    program: &Program,
    maps: &[MapDesc],
    views: Option<&Views>,
    rng: Rng,
) -> Option<String> {
    let mut world = World::new(desc.prog_type, maps, rng);
    let mut watch = Watch {
        views,
        bases: world.bases.clone(),
        hole: None,
    };
    let options = interp::Options {
        fuel: Some(FUEL),
        observer: Some(&mut watch),
    };
    let args = [world.context, 0];
    let end = interp::run_with(program, args, &mut world, options);
    match end {
        _ if watch.hole.is_some() => watch.hole,
        Err(trap) if trap.kind != TrapKind::OutOfFuel => Some(format!("{trap}: {trap:?}")),
        _ => None,
    }
}

struct Watch<'v> {
    views: Option<&'v Views>,
    bases: Rc<RefCell<Bases>>,
    hole: Option<String>,
}

impl Observer for Watch<'_> {
    fn before(
        &mut self,
        prog: &Program,
        insn: u32,
        depth: u32,
        regs: &[u64; Reg::COUNT],
        rt: &mut dyn Runtime,
    ) {
        let (Some(views), None) = (self.views, &self.hole) else {
            return;
        };
        let at = prog.origin.get(insn as usize).map_or(0, |o| *o as usize);
        let here = views.0.get(&at).map_or(&[][..], |v| v);
        let bases = self.bases.borrow();
        let mut misses = String::new();
        for view in here.iter().filter(|v| v.depth == depth as usize) {
            match mismatch(view, regs, &bases, rt) {
                None => return,
                Some(miss) => {
                    let _ = writeln!(misses, "  {miss}");
                }
            }
        }
        let short: String = misses.lines().take(6).collect::<Vec<_>>().join("\n");
        self.hole = Some(format!("no state at {at} holds {regs:x?}:\n{short}"));
    }
}

/// The first thing that is not in the view.
fn mismatch(
    view: &View,
    regs: &[u64; Reg::COUNT],
    bases: &Bases,
    rt: &mut dyn Runtime,
) -> Option<String> {
    for (nr, (reg, &value)) in view.regs.iter().zip(regs).enumerate() {
        if !holds(reg, value, bases) {
            return Some(format!("R{nr}={value:#x} is not in {reg:?}"));
        }
    }
    for &(off, number) in &view.spilled {
        let at = regs[10].wrapping_add_signed(off.into());
        let value = rt.load(at, Size::DW).unwrap_or(0);
        if !number.contains(value) {
            return Some(format!("fp{off}={value:#x} is not in {number:?}"));
        }
    }
    None
}

fn holds(view: &RegView, value: u64, bases: &Bases) -> bool {
    match view {
        RegView::Nothing => true,
        RegView::Number(number) => number.contains(value),
        RegView::Pointer { or_null: true, .. } if value == 0 => true,
        RegView::Pointer { kind, off, var, .. } => {
            let kind = kind.strip_suffix("_or_null").unwrap_or(kind);
            let kind = kind.strip_prefix("ringbuf_").unwrap_or(kind);
            let Some(starts) = bases.0.get(kind) else {
                return kind == "func";
            };
            let distance = |base: &u64| value.wrapping_sub(*base).wrapping_sub(*off as i64 as u64);
            starts.iter().any(|base| var.contains(distance(base)))
        }
    }
}
