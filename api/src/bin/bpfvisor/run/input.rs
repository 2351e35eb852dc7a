//! Packets on their way through the program.

use super::{Session, Tally, min_len, writer};
use crate::cli::{Input, RunArgs};
use crate::verdict;
use anyhow::{Context, Result};
use bpfvisor::hex;
use bpfvisor::input::capture::{LINK_ETHERNET, Packet, Reader, Writer};
use bpfvisor::{Buffer, MAX_PACKET, TestRun};
use indicatif::{ProgressBar, ProgressStyle};
use std::time::{Duration, Instant};

/// The one packet of `--data` or `--hex`.
pub fn single(input: &Input) -> Result<Option<Vec<u8>>> {
    if let Some(path) = &input.data {
        let bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()));
        return bytes.map(Some);
    }
    Ok(input.hex.as_deref().map(hex::decode).transpose()?)
}

/// Runs over one packet.
pub fn one(session: &Session, args: &RunArgs, data: &[u8]) -> Result<Tally> {
    let out = session.program.test_run(&TestRun {
        data,
        repeat: args.repeat,
        ..TestRun::default()
    })?;
    let mut tally = Tally {
        packets: u64::from(args.repeat),
        bytes: data.len() as u64 * u64::from(args.repeat),
        time: out.duration * args.repeat,
        ..Tally::default()
    };
    tally.verdicts.insert(out.retval, u64::from(args.repeat));
    tally.single = Some(out);
    Ok(tally)
}

/// Packets that go over in one request.
const BATCH: usize = 256;
/// Longest packet of an ordinary frame; longer ones get buffers of their own.
const SHORT: usize = 3520;
const LONG_BATCH: usize = 16;

/// Runs over a capture.
pub fn capture(session: &Session, args: &RunArgs, mut reader: Reader) -> Result<Tally> {
    let progress = Progress::new(args);
    // The link type is known when the first packet was read.
    let mut first = None;
    reader.next(|p| {
        first = Some((p.time, p.original_len, p.data.to_vec()));
        Ok(())
    })?;
    let link = reader.link();
    if link != LINK_ETHERNET {
        eprintln!(
            "bpfvisor: note: the capture's link type is {link}, not Ethernet; programs see its \
             bytes as they are"
        );
    }
    let mut stream = Stream::new(session, args, writer(args, link)?)?;
    if let Some((time, original_len, data)) = &first {
        stream.push(Packet {
            time: *time,
            data,
            original_len: *original_len,
        })?;
    }
    while reader.next(|p| stream.push(p))? {
        progress.update(reader.bytes_read());
    }
    stream.flush()?;
    progress.finish();
    stream.sink.finish()
}

/// Packets are gathered, run together, and looked at.
struct Stream<'a> {
    session: &'a Session,
    repeat: u32,
    short: Buffer,
    long: Option<Buffer>,
    sink: Sink,
}

/// What becomes of packets afterwards.
struct Sink {
    /// Time and original length of the packets gathered.
    meta: Vec<(u64, u32)>,
    out: Option<Writer>,
    tally: Tally,
    scratch: Vec<u8>,
}

impl<'a> Stream<'a> {
    fn new(session: &'a Session, args: &RunArgs, out: Option<Writer>) -> Result<Self> {
        let prog_type = session.program.prog_type();
        Ok(Self {
            session,
            repeat: args.repeat,
            short: session.vm.packet_buffer(prog_type, BATCH, SHORT)?,
            long: None,
            sink: Sink {
                meta: Vec::with_capacity(BATCH),
                out,
                tally: Tally::default(),
                scratch: Vec::new(),
            },
        })
    }

    fn push(&mut self, packet: Packet<'_>) -> Result<()> {
        let least = min_len(self.session.program.prog_type());
        let tally = &mut self.sink.tally;
        if !(least..=MAX_PACKET).contains(&packet.data.len()) {
            tally.skipped += 1;
            return Ok(());
        }
        tally.bytes += packet.data.len() as u64;
        if self.repeat > 1 {
            return self.sink.run_repeatedly(self.session, self.repeat, packet);
        }
        let is_long = packet.data.len() > SHORT;
        let other_waits = if is_long {
            !self.short.is_empty()
        } else {
            self.long.as_ref().is_some_and(|b| !b.is_empty())
        };
        if other_waits {
            self.flush()?; // keep the order
        }
        let buffer = self.buffer(is_long)?;
        buffer.push(packet.data)?;
        let full = buffer.is_full();
        self.sink.meta.push((packet.time, packet.original_len));
        if full { self.flush() } else { Ok(()) }
    }

    fn buffer(&mut self, is_long: bool) -> Result<&mut Buffer> {
        if !is_long {
            return Ok(&mut self.short);
        }
        let buffer = match self.long.take() {
            Some(b) => b,
            None => {
                let prog_type = self.session.program.prog_type();
                let vm = &self.session.vm;
                vm.packet_buffer(prog_type, LONG_BATCH, MAX_PACKET)?
            }
        };
        Ok(self.long.insert(buffer))
    }

    /// Runs what was gathered.
    fn flush(&mut self) -> Result<()> {
        self.sink.run(self.session, &mut self.short)?;
        if let Some(long) = &mut self.long {
            self.sink.run(self.session, long)?;
        }
        self.sink.meta.clear();
        Ok(())
    }
}

impl Sink {
    fn run(&mut self, session: &Session, buffer: &mut Buffer) -> Result<()> {
        if buffer.is_empty() {
            return Ok(());
        }
        let begin = Instant::now();
        session.program.run_buffer(buffer)?;
        self.tally.time += begin.elapsed();
        for (i, o) in buffer.outcomes().enumerate() {
            self.tally.packets += 1;
            if o.errno != 0 {
                *self.tally.failed.entry(o.errno).or_default() += 1;
                continue;
            }
            *self.tally.verdicts.entry(o.retval).or_default() += 1;
            self.tally.redirected(o.redirect);
            if self.out.is_some() {
                let mut data = std::mem::take(&mut self.scratch);
                buffer.read(i, &mut data)?;
                let meta = self.meta.get(i).copied().unwrap_or_default();
                self.write(session, o.retval, &data, meta)?;
                self.scratch = data;
            }
        }
        buffer.clear();
        Ok(())
    }

    fn run_repeatedly(&mut self, session: &Session, repeat: u32, packet: Packet<'_>) -> Result<()> {
        let out = session.program.test_run(&TestRun {
            data: packet.data,
            repeat,
            ..TestRun::default()
        })?;
        self.tally.time += out.duration * repeat;
        self.tally.packets += 1;
        *self.tally.verdicts.entry(out.retval).or_default() += 1;
        self.tally.redirected(out.redirect);
        let meta = (packet.time, packet.original_len);
        self.write(session, out.retval, &out.data, meta)
    }

    fn write(
        &mut self,
        session: &Session,
        retval: u32,
        data: &[u8],
        (time, original_len): (u64, u32),
    ) -> Result<()> {
        let kept = verdict::passed(session.program.prog_type(), retval, data.len());
        let (Some(out), Some(kept)) = (&mut self.out, kept) else {
            return Ok(());
        };
        self.tally.written += 1;
        out.write(&Packet {
            time,
            data: &data[..kept],
            original_len: original_len.max(kept as u32),
        })
    }

    fn finish(mut self) -> Result<Tally> {
        if let Some(out) = self.out.take() {
            out.finish()?;
        }
        Ok(self.tally)
    }
}

/// A bar on standard error, when that is a terminal and it takes long.
struct Progress {
    bar: Option<ProgressBar>,
    begin: Instant,
}

impl Progress {
    fn new(args: &RunArgs) -> Self {
        let path = args.input.pcap.as_deref();
        let len = path
            .and_then(|p| std::fs::metadata(p).ok())
            .map(|m| m.len());
        let style =
            ProgressStyle::with_template("{bar:40} {bytes}/{total_bytes} {bytes_per_sec} {eta}");
        let bar = len.zip(style.ok()).map(|(len, style)| {
            let bar = ProgressBar::hidden().with_style(style);
            bar.set_length(len);
            bar
        });
        Self {
            bar,
            begin: Instant::now(),
        }
    }

    fn update(&self, bytes: u64) {
        let Some(bar) = &self.bar else { return };
        bar.set_position(bytes);
        if bar.is_hidden() && self.begin.elapsed() > Duration::from_millis(500) {
            bar.set_draw_target(indicatif::ProgressDrawTarget::stderr());
        }
    }

    fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
