//! `bpfvisor run`: a program of an object over packets.

mod input;
mod report;

use crate::cli::RunArgs;
use anyhow::{Result, anyhow, bail};
use bpfvisor::hex;
use bpfvisor::input::capture::Writer;
use bpfvisor::object::{Object, ObjectFile};
use bpfvisor::uapi::ProgType;
use bpfvisor::{Program, Redirect, Vm};
use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

/// What was counted.
#[derive(Debug, Default)]
pub struct Tally {
    /// By return value.
    pub verdicts: BTreeMap<u32, u64>,
    /// By target, those to be redirected.
    pub redirects: HashMap<Redirect, u64>,
    pub packets: u64,
    pub bytes: u64,
    /// Packets that no program of the type may see: too short or too long.
    pub skipped: u64,
    /// Packets over which the program did not run to its end, by errno.
    pub failed: BTreeMap<i32, u64>,
    pub written: u64,
    /// Time inside calls to the VM.
    pub time: Duration,
    /// The one packet of `--data` or `--hex`.
    pub single: Option<bpfvisor::RunOutput>,
}

impl Tally {
    fn redirected(&mut self, to: Option<Redirect>) {
        if let Some(to) = to {
            *self.redirects.entry(to).or_default() += 1;
        }
    }
}

/// A loaded object on its way.
pub struct Session {
    pub vm: Vm,
    pub object: Object,
    pub program: Program,
    pub name: String,
    pub boot: Duration,
    pub load: Duration,
}

/// Runs and prints.
pub fn run(args: &RunArgs) -> Result<()> {
    let mut file = args.object_args.open(&args.object)?;
    for setting in &args.set {
        set_global(&mut file, setting)?;
    }
    let single = input::single(&args.input)?;
    let reader = args
        .input
        .pcap
        .as_deref()
        .map(bpfvisor::input::capture::Reader::open)
        .transpose()?;
    let session = start(&file, args, single.as_deref())?;
    let tally = match (reader, single) {
        (Some(reader), _) => input::capture(&session, args, reader)?,
        (None, Some(data)) => input::one(&session, args, &data)?,
        (None, None) => bail!("nothing to run over: give --pcap, --data or --hex"),
    };
    report::report(&session, &tally, args)
}

/// Boots a VM and loads the program.
fn start(file: &ObjectFile, args: &RunArgs, single: Option<&[u8]>) -> Result<Session> {
    let name = choose(file, args.prog.as_deref())?;
    let begin = Instant::now();
    let vm = args.vm.vm()?;
    let boot = begin.elapsed();
    let mut options = args.object_args.options(vec![name.clone()]);
    if let Some(data) = single {
        options.flat = (data.len() as u32, data.len() as u32);
    }
    let begin = Instant::now();
    let object = file.load(&vm, &options).map_err(explain)?;
    let load = begin.elapsed();
    let program = object
        .program(&name)
        .cloned()
        .ok_or_else(|| anyhow!("program {name:?} is missing after load"))?;
    Ok(Session {
        vm,
        object,
        program,
        name,
        boot,
        load,
    })
}

/// A reject, with what to do next.
pub fn explain(e: bpfvisor::Error) -> anyhow::Error {
    match &e {
        bpfvisor::Error::Program(r) if !r.unsupported => {
            anyhow!("{e}\n  (bpfvisor verify OBJECT prints the whole log)")
        }
        _ => e.into(),
    }
}

/// The program meant: the named one, or the only one.
pub fn choose(file: &ObjectFile, wanted: Option<&str>) -> Result<String> {
    if let Some(name) = wanted {
        let known = file.programs().any(|p| p.name == name || p.section == name);
        if known {
            return Ok(name.into());
        }
    }
    let names: Vec<String> = file
        .programs()
        .map(|p| format!("{} ({})", p.name, p.section))
        .collect();
    match (wanted, names.len()) {
        (Some(name), 0) => bail!("no program {name:?}: the object has no programs"),
        (None, 0) => bail!("the object has no programs (functions in sections such as \"xdp\")"),
        (Some(name), _) => bail!("no program {name:?}; there are: {}", names.join(", ")),
        (None, 1) => file
            .programs()
            .next()
            .map(|p| p.name.to_string())
            .ok_or_else(|| anyhow!("the object has no programs")),
        (None, n) => bail!(
            "the object has {n} programs, choose one with --prog: {}",
            names.join(", ")
        ),
    }
}

/// `NAME=NUMBER` (as wide as the variable) or `NAME=hex:BYTES`.
fn set_global(file: &mut ObjectFile, setting: &str) -> Result<()> {
    let (name, value) = setting
        .split_once('=')
        .ok_or_else(|| anyhow!("--set {setting:?}: expected NAME=NUMBER or NAME=hex:BYTES"))?;
    let bytes = match value.strip_prefix("hex:") {
        Some(digits) => hex::decode(digits)?,
        None => {
            let number = parse_number(value)
                .ok_or_else(|| anyhow!("--set {setting:?}: {value:?} is not a number"))?;
            let size = file.global_size(name)?;
            let wide = number.to_le_bytes();
            let kept = wide.get(..size).filter(|k| fits(number, k.len()));
            kept.ok_or_else(|| {
                anyhow!("--set {setting:?}: does not fit the variable's {size} bytes")
            })?
            .to_vec()
        }
    };
    Ok(file.set_global(name, &bytes)?)
}

fn parse_number(text: &str) -> Option<i128> {
    match text.strip_prefix("0x") {
        Some(digits) => i128::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    }
}

/// Whether a number survives being cut to so many bytes, signed or not.
fn fits(number: i128, size: usize) -> bool {
    let bits = 8 * size as u32;
    size <= 8 && number >= -(1 << (bits - 1).min(126)) && number < 1 << bits
}

/// Opens `--write-pcap`.
fn writer(args: &RunArgs, link: u32) -> Result<Option<Writer>> {
    let path = args.write_pcap.as_deref();
    path.map(|p| Writer::create(p, link)).transpose()
}

/// Shortest packet a program of this type runs over.
fn min_len(prog_type: ProgType) -> usize {
    match prog_type {
        ProgType::Flat => 0,
        _ => bpfvisor::MIN_FRAME,
    }
}
