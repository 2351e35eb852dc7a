//! Cases in the running kernel.

use super::world::{self, Element, Look, Outcome, Seen};
use super::{Case, Target};
use crate::generate::MAPS;
use crate::kernel::{self, Btf, Map, Prog, ProgSpec, RunSpec};
use crate::oracle::{functions, takes_function};
use bpf_core::uapi::{MapType, ProgType};
use std::os::fd::{AsFd, AsRawFd};

/// The running kernel's `bpf(2)`.
pub struct Kernel {
    /// Types for the functions of programs with callbacks.
    btf: Btf,
    /// Targets of tail calls: a program array takes programs of one type.
    tails: Vec<(ProgType, Prog)>,
}

impl Kernel {
    /// Fails without root.
    pub fn new() -> Result<Self, String> {
        kernel::require().map_err(|e| e.to_string())?;
        let btf = Btf::load(&kernel::btf::functions()).map_err(|e| e.to_string())?;
        let types = [ProgType::Xdp, ProgType::SchedCls, ProgType::SocketFilter];
        let load = |prog_type| {
            let prog = Prog::load(&ProgSpec::new(prog_type, &world::tail_target()));
            prog.map(|prog| (prog_type, prog))
                .map_err(|e| e.to_string())
        };
        let tails = types.into_iter().map(load).collect::<Result<_, _>>()?;
        Ok(Self { btf, tails })
    }

    fn attempt(&self, case: &Case) -> kernel::Result<Outcome> {
        let mut maps = Vec::new();
        for handle in world::used_maps(&case.sample) {
            let map = Map::create(&MAPS[handle - 1])?;
            for (key, value) in world::contents(handle) {
                map.update(&key, &value, 0)?;
            }
            maps.push((handle, map));
        }
        let fd = |handle| maps.iter().find(|(h, _)| *h == handle);
        let insns = world::with_fds(&case.sample, |h| fd(h).map_or(-1, |(_, m)| m.as_raw_fd()));
        let mut spec = ProgSpec::new(case.sample.prog_type, &insns);
        let starts = functions(&insns);
        if insns.iter().any(takes_function) {
            spec.btf = Some((self.btf.as_fd(), &starts));
        }
        let prog = match Prog::load(&spec) {
            Ok(prog) => prog,
            Err(no) => {
                return Ok(Outcome::Rejected {
                    errno: no.error.errno,
                    reason: no.reason().to_owned(),
                    unsupported: false,
                });
            }
        };
        self.link(case, &maps, &prog)?;
        let mut seen = Seen::default();
        for packet in &case.packets {
            let out = prog.run(&RunSpec::data(packet))?;
            seen.runs.push((out.retval, out.data));
        }
        for (handle, map) in &maps {
            seen.maps.push((*handle, elements(*handle, map)?));
        }
        Ok(Outcome::Ran(seen))
    }

    /// Fills the program array.
    fn link(&self, case: &Case, maps: &[(usize, Map)], prog: &Prog) -> kernel::Result<()> {
        for (handle, map) in maps {
            if MAPS[handle - 1].map_type == MapType::ProgArray {
                let tail = self.tails.iter().find(|(t, _)| *t == case.sample.prog_type);
                let fd = tail.map_or(-1, |(_, prog)| prog.as_raw_fd());
                map.update(&0u32.to_ne_bytes(), &fd.to_ne_bytes(), 0)?;
                map.update(&1u32.to_ne_bytes(), &prog.as_raw_fd().to_ne_bytes(), 0)?;
            }
        }
        Ok(())
    }
}

fn elements(handle: usize, map: &Map) -> kernel::Result<Vec<Element>> {
    let mut out = Vec::new();
    match world::look(handle) {
        Look::Walk => out = map.entries()?,
        Look::Pop => {
            while let Some(value) = map.lookup_and_delete(&[])? {
                out.push((Vec::new(), value));
            }
            return Ok(out);
        }
        Look::Ignore => {}
    }
    out.sort();
    Ok(out)
}

impl Target for Kernel {
    fn run(&mut self, case: &Case) -> Outcome {
        self.attempt(case)
            .unwrap_or_else(|e| Outcome::Broken(e.to_string()))
    }
}
