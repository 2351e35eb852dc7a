//! Running a program: once, repeatedly, over many packets.

use crate::error::{CallerError, Error, Result};
use crate::packet::{self, Buffer, Place};
use crate::program::{Program, ProgramCore, Spare};
use crate::redirect::Redirect;
use bpf_core::uapi::ProgType;
use bpfvisor_abi::op::run_flags;
use bpfvisor_vmm::{Block, Packet, Run};
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

/// What a run is to be given: the input fields of `BPF_PROG_TEST_RUN`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[doc(alias = "BPF_PROG_TEST_RUN")]
pub struct TestRun<'a> {
    /// The packet, or the memory of a flat program.
    pub data: &'a [u8],
    /// Context structure (`struct xdp_md`, `struct __sk_buff`), empty for none.
    pub ctx: &'a [u8],
    /// How often to run; 0 counts as 1.
    pub repeat: u32,
}

/// What a run gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunOutput {
    /// The program's 32-bit return value: the verdict.
    pub retval: u32,
    /// The whole of R0.
    pub r0: u64,
    /// The data as the program left it.
    pub data: Vec<u8>,
    /// The context as the program left it; empty where none was given.
    pub ctx: Vec<u8>,
    /// Where the packet is to go, if the verdict is to redirect it and a helper
    /// named a target.
    pub redirect: Option<Redirect>,
    /// Time of one run (of all of them, divided by `repeat`).
    pub duration: Duration,
}

impl Program {
    /// Runs the program over `data`.
    ///
    /// # Errors
    /// EINVAL for data that its type does not take, [`Error::Timeout`], and
    /// [`Error::Guest`] where the VM failed.
    pub fn run(&self, data: &[u8]) -> Result<RunOutput> {
        self.test_run(&TestRun {
            data,
            ..TestRun::default()
        })
    }

    /// Runs the program, with all that `BPF_PROG_TEST_RUN` takes.
    ///
    /// # Errors
    /// As [`Program::run`].
    pub fn test_run(&self, run: &TestRun<'_>) -> Result<RunOutput> {
        self.core().test_run(run, &self.inner.spare)
    }

    /// Runs the program over each packet of a buffer, in order. Results are in
    /// the buffer afterwards; nothing is allocated.
    ///
    /// # Errors
    /// As [`Program::run`]; EXDEV-like where the buffer is another VM's.
    pub fn run_buffer(&self, buffer: &mut Buffer) -> Result<()> {
        if !buffer.of(self.vm()) {
            return Err(Error::argument("the packet buffer belongs to another VM"));
        }
        if buffer.is_empty() {
            return Ok(());
        }
        for outcome in buffer.outcomes() {
            self.core().check_len(outcome.len)?;
        }
        let vm = &self.vm().inner;
        vm.vmm
            .run_batch(&self.core().object, buffer.packets())
            .map_err(|e| vm.failed("run", e))?;
        buffer.check()
    }

    /// Runs the program over each of `packets`, in order, with one request.
    /// `r0` is the 32-bit return value here, `duration` zero.
    ///
    /// # Errors
    /// As [`Program::run`], also where only one of the packets is not taken.
    pub fn run_batch(&self, packets: &[&[u8]]) -> Result<Vec<RunOutput>> {
        let longest = packets.iter().map(|p| p.len()).max().unwrap_or(0);
        if packets.is_empty() {
            return Ok(Vec::new());
        }
        let vm = self.vm();
        let mut buffer = vm.packet_buffer(self.prog_type(), packets.len(), longest)?;
        for p in packets {
            buffer.push(p)?;
        }
        self.run_buffer(&mut buffer)?;
        let outcomes: Vec<_> = buffer.outcomes().collect();
        outcomes
            .iter()
            .enumerate()
            .map(|(i, o)| {
                if o.errno != 0 {
                    let (op, errno) = ("run", o.errno);
                    return Err(CallerError::Refused { op, errno }.into());
                }
                let mut data = Vec::new();
                buffer.read(i, &mut data)?;
                Ok(RunOutput {
                    retval: o.retval,
                    r0: u64::from(o.retval),
                    data,
                    ctx: Vec::new(),
                    redirect: o.redirect,
                    duration: Duration::ZERO,
                })
            })
            .collect()
    }
}

impl ProgramCore {
    /// [`Program::test_run`], with a buffer from and to `spare`.
    pub fn test_run(&self, run: &TestRun<'_>, spare: &Spare) -> Result<RunOutput> {
        self.check_len(run.data.len())?;
        let place = Place::new(self.prog_type(), run.data.len());
        let mut buffer = spare.take(&self.vm, place)?;
        buffer.clear();
        buffer.push(run.data)?;
        let out = self.run_one(&mut buffer, run)?;
        spare.put(buffer);
        Ok(out)
    }

    fn run_one(&self, buffer: &mut Buffer, run: &TestRun<'_>) -> Result<RunOutput> {
        let vm = &self.vm.inner;
        let ctx = self.place_ctx(run.ctx)?;
        let repeat = run.repeat.max(1);
        let packet = Packet {
            ctx_or_target: ctx.as_ref().map_or(0, |b| b.offset() as u32),
            ctx_len_or_via: run.ctx.len() as u32,
            ..buffer.packets()[0]
        };
        let request = Run {
            prog: self.object.handle(),
            repeat,
            flags: run_flags::TIMED,
            packet,
            ..Run::default()
        };
        let result = vm
            .vmm
            .run(&self.object, request)
            .map_err(|e| vm.failed("run", e))?;
        if self.vm.inner.stats.enabled() {
            self.info.run_count.fetch_add(repeat.into(), Relaxed);
            self.info.run_ns.fetch_add(result.duration_ns, Relaxed);
        }
        buffer.settle(0, result.data, result.len)?;
        let mut data = Vec::new();
        buffer.read(0, &mut data)?;
        let mut ctx_out = vec![0; run.ctx.len()];
        if let Some(block) = &ctx {
            vm.vmm
                .shared()
                .read(block.offset(), &mut ctx_out)
                .map_err(|e| vm.failed("run", e))?;
        }
        Ok(RunOutput {
            retval: result.r0 as u32,
            r0: result.r0,
            data,
            ctx: ctx_out,
            redirect: Redirect::new(&vm.registry, result.target, result.via, result.redirect),
            duration: Duration::from_nanos(result.duration_ns / u64::from(repeat)),
        })
    }

    fn place_ctx(&self, ctx: &[u8]) -> Result<Option<Block>> {
        if ctx.is_empty() {
            return Ok(None);
        }
        if ctx.len() > 4096 {
            return Err(Error::argument(format!(
                "context of {} bytes, expected at most 4096",
                ctx.len()
            )));
        }
        let vm = &self.vm.inner;
        let failed = |e| vm.failed("context", e);
        let block = vm.vmm.alloc_low(ctx.len() as u64, 64).map_err(failed)?;
        vm.vmm.shared().write(block.offset(), ctx).map_err(failed)?;
        Ok(Some(block))
    }

    fn check_len(&self, len: usize) -> Result<()> {
        packet::check_len(self.prog_type(), len)?;
        let flat = self.info.flat;
        if self.prog_type() == ProgType::Flat
            && !(flat.min as usize..=flat.max as usize).contains(&len)
        {
            return Err(Error::argument(format!(
                "memory of {len} bytes, but the program was loaded for {} to {}",
                flat.min, flat.max
            )));
        }
        Ok(())
    }
}
