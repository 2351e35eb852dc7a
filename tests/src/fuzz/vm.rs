//! Cases in a VM that is used for all of them, and booted again if it dies.

use super::world::{self, Element, Look, Outcome, Seen};
use super::{Case, Target};
use crate::generate::MAPS;
use bpf_core::uapi::{MapType, ProgType, errno};
use bpfvisor::{Error, Map, MapSpec, Program, ProgramSpec, Vm};
use std::os::fd::AsRawFd;
use std::time::Duration;

/// A VM that compiles, or one that interprets.
pub struct Machine {
    interpret: bool,
    inner: Inner,
    /// How often it had to be booted again.
    pub deaths: u64,
}

struct Inner {
    vm: Vm,
    tails: Vec<(ProgType, Program)>,
}

impl Machine {
    /// Fails without a usable /dev/kvm.
    pub fn boot(interpret: bool) -> Result<Self, String> {
        let inner = Inner::boot(interpret).map_err(|e| e.to_string())?;
        Ok(Self {
            interpret,
            inner,
            deaths: 0,
        })
    }
}

impl Target for Machine {
    fn run(&mut self, case: &Case) -> Outcome {
        // Memory of closed maps comes back a little later.
        let mut done = self.inner.attempt(case);
        for _ in 0..100 {
            match &done {
                Err(Error::Host(e)) if Error::from(e.clone()).errno() == errno::ENOMEM => {
                    std::thread::sleep(Duration::from_millis(10));
                    done = self.inner.attempt(case);
                }
                _ => break,
            }
        }
        let outcome = match done {
            Ok(seen) => Outcome::Ran(seen),
            Err(Error::Program(no)) => Outcome::Rejected {
                errno: no.errno,
                reason: no.reason.clone(),
                unsupported: no.unsupported,
            },
            Err(Error::Caller(e)) => Outcome::Rejected {
                reason: e.to_string(),
                errno: Error::from(e).errno(),
                unsupported: false,
            },
            Err(Error::Timeout(_)) => Outcome::TimedOut,
            Err(e) => Outcome::Broken(e.to_string()),
        };
        if !self.inner.vm.is_alive() {
            self.deaths += 1;
            match Inner::boot(self.interpret) {
                Ok(inner) => self.inner = inner,
                Err(e) => return Outcome::Broken(format!("can't boot another VM: {e}")),
            }
        }
        outcome
    }
}

impl Inner {
    fn boot(interpret: bool) -> bpfvisor::Result<Self> {
        let builder = Vm::builder().memory(128 << 20);
        let vm = match interpret {
            true => builder.interpret().boot()?,
            false => builder.boot()?,
        };
        let types = [ProgType::Xdp, ProgType::SchedCls, ProgType::SocketFilter];
        let load = |prog_type| {
            let prog = vm.load(ProgramSpec::new(prog_type, world::tail_target()));
            prog.map(|prog| (prog_type, prog))
        };
        let tails = types.into_iter().map(load).collect::<Result<_, _>>()?;
        Ok(Self { vm, tails })
    }

    fn attempt(&self, case: &Case) -> bpfvisor::Result<Seen> {
        let mut maps = Vec::new();
        for handle in world::used_maps(&case.sample) {
            maps.push((handle, self.map(handle)?));
        }
        let fd = |handle| maps.iter().find(|(h, _)| *h == handle);
        let insns = world::with_fds(&case.sample, |h| fd(h).map_or(-1, |(_, m)| m.as_raw_fd()));
        let spec = ProgramSpec::new(case.sample.prog_type, insns).license("GPL");
        let prog = self.vm.load(spec)?;
        for (handle, map) in &maps {
            if MAPS[handle - 1].map_type == MapType::ProgArray {
                self.link(map, &prog)?;
            }
        }
        let mut seen = self.runs(case, &prog)?;
        for (handle, map) in &maps {
            seen.maps.push((*handle, elements(*handle, map)?));
        }
        // A program array that holds its own program keeps both alive.
        for (_, map) in maps
            .iter()
            .filter(|(_, m)| m.map_type() == MapType::ProgArray)
        {
            map.remove(&1u32.to_ne_bytes())?;
        }
        Ok(seen)
    }

    /// The first packet alone, for all of R0, the others as a batch.
    fn runs(&self, case: &Case, prog: &Program) -> bpfvisor::Result<Seen> {
        let mut seen = Seen::default();
        let Some((first, others)) = case.packets.split_first() else {
            return Ok(seen);
        };
        let out = prog.run(first)?;
        seen.r0 = Some(out.r0);
        seen.runs.push((out.retval, out.data));
        let others: Vec<&[u8]> = others.iter().map(Vec::as_slice).collect();
        let outs = prog.run_batch(&others)?;
        seen.runs
            .extend(outs.into_iter().map(|o| (o.retval, o.data)));
        Ok(seen)
    }

    fn map(&self, handle: usize) -> bpfvisor::Result<Map> {
        let like = &MAPS[handle - 1];
        let (key, value) = (like.key_size, like.value_size);
        let spec = MapSpec::new("fuzz", like.map_type, key, value, like.max_entries);
        let map = self.vm.create_map(spec.flags(like.flags))?;
        for (key, value) in world::contents(handle) {
            map.update(&key, &value, 0)?;
        }
        Ok(map)
    }

    fn link(&self, map: &Map, prog: &Program) -> bpfvisor::Result<()> {
        let tail = self.tails.iter().find(|(t, _)| *t == prog.prog_type());
        let fd = tail.map_or(-1, |(_, prog)| prog.as_raw_fd());
        map.insert(&0u32.to_ne_bytes(), &fd.to_ne_bytes())?;
        map.insert(&1u32.to_ne_bytes(), &prog.as_raw_fd().to_ne_bytes())
    }
}

fn elements(handle: usize, map: &Map) -> bpfvisor::Result<Vec<Element>> {
    let mut out = Vec::new();
    match world::look(handle) {
        Look::Walk => out = map.iter().collect::<Result<_, _>>()?,
        Look::Pop => {
            while let Some(value) = map.pop()? {
                out.push((Vec::new(), value));
            }
            return Ok(out);
        }
        Look::Ignore => {}
    }
    out.sort();
    Ok(out)
}
