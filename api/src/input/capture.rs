//! Capture files: pcap (µs and ns) and pcapng in, pcap (ns) out.

use anyhow::{Context, Result, bail};
use pcap_parser::traits::PcapReaderIterator;
use pcap_parser::{Block, PcapBlockOwned, PcapError, create_reader};
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

/// One packet of a capture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet<'a> {
    /// Nanoseconds since 1970.
    pub time: u64,
    /// The bytes captured.
    pub data: &'a [u8],
    /// Bytes that the packet had.
    pub original_len: u32,
}

/// Ethernet.
pub const LINK_ETHERNET: u32 = 1;
/// A block of a capture may take that much.
const BUFFER: usize = 4 << 20;

/// A capture being read.
pub struct Reader {
    path: PathBuf,
    inner: Box<dyn PcapReaderIterator + Send>,
    /// Ticks per second and offset in seconds, by interface.
    clocks: Vec<(u64, i64)>,
    link: u32,
    packets: u64,
    bytes_read: u64,
}

impl Reader {
    /// Opens a capture file.
    pub fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
        Self::new(path, file, BUFFER)
    }

    /// Begins to read a capture; `room` is what its longest block may take.
    pub fn new(
        path: &Path,
        source: impl std::io::Read + Send + 'static,
        room: usize,
    ) -> Result<Self> {
        let inner = match create_reader(room, source) {
            Ok(inner) => inner,
            Err(PcapError::Eof) => bail!("{}: the file is empty", path.display()),
            Err(PcapError::ReadError) => bail!("{}: cannot be read", path.display()),
            Err(_) => bail!(
                "{}: not a capture file, expected pcap or pcapng",
                path.display()
            ),
        };
        Ok(Self {
            path: path.into(),
            inner,
            clocks: Vec::new(),
            link: LINK_ETHERNET,
            packets: 0,
            bytes_read: 0,
        })
    }

    /// Link type of the last interface described.
    pub fn link(&self) -> u32 {
        self.link
    }

    /// Bytes of the file that were read so far.
    pub fn bytes_read(&self) -> u64 {
        self.bytes_read
    }

    /// Gives the next packet to `sink`; `false` at the end.
    pub fn next(&mut self, mut sink: impl FnMut(Packet<'_>) -> Result<()>) -> Result<bool> {
        loop {
            let found = match self.inner.next() {
                Ok((size, block)) => {
                    let state = (&mut self.clocks, &mut self.link);
                    let packet = packet(&block, state, self.packets)
                        .with_context(|| format!("{}: damaged", self.path.display()))?;
                    let found = packet.is_some();
                    if let Some(packet) = packet {
                        self.packets += 1;
                        sink(packet)?;
                    }
                    self.bytes_read += size as u64;
                    self.inner.consume(size);
                    found
                }
                Err(PcapError::Eof) => return Ok(false),
                Err(PcapError::Incomplete(_)) => {
                    self.refill()?;
                    false
                }
                Err(PcapError::UnexpectedEof) => bail!("{}", self.cut_off()),
                Err(_) => bail!(
                    "{}: damaged after packet {}, at byte {}",
                    self.path.display(),
                    self.packets,
                    self.bytes_read
                ),
            };
            if found {
                return Ok(true);
            }
        }
    }

    fn refill(&mut self) -> Result<()> {
        if self.inner.reader_exhausted() {
            bail!("{}", self.cut_off());
        }
        match self.inner.refill() {
            Ok(()) => Ok(()),
            Err(_) => bail!(
                "{}: damaged or unreadable after packet {}",
                self.path.display(),
                self.packets
            ),
        }
    }

    fn cut_off(&self) -> String {
        format!(
            "{}: cut off after packet {}, at byte {}",
            self.path.display(),
            self.packets,
            self.bytes_read
        )
    }
}

type State<'a> = (&'a mut Vec<(u64, i64)>, &'a mut u32);

/// What a block says: a packet, or something to remember.
fn packet<'a>(
    block: &'a PcapBlockOwned<'a>,
    (clocks, link): State<'_>,
    count: u64,
) -> Result<Option<Packet<'a>>> {
    match block {
        PcapBlockOwned::LegacyHeader(h) => {
            let ticks = if h.is_nanosecond_precision() {
                1_000_000_000
            } else {
                1_000_000
            };
            clocks.push((ticks, 0));
            *link = h.network.0 as u32;
            Ok(None)
        }
        PcapBlockOwned::Legacy(b) => {
            let (ticks, _) = clocks.first().copied().unwrap_or((1_000_000, 0));
            let fraction = u64::from(b.ts_usec) * (1_000_000_000 / ticks);
            Ok(Some(Packet {
                time: u64::from(b.ts_sec) * 1_000_000_000 + fraction,
                data: b.data,
                original_len: b.origlen,
            }))
        }
        PcapBlockOwned::NG(Block::SectionHeader(_)) => {
            clocks.clear();
            Ok(None)
        }
        PcapBlockOwned::NG(Block::InterfaceDescription(i)) => {
            let ticks = i.ts_resolution().filter(|&t| t > 0).unwrap_or(1_000_000);
            clocks.push((ticks, i.if_tsoffset));
            *link = i.linktype.0 as u32;
            Ok(None)
        }
        PcapBlockOwned::NG(Block::EnhancedPacket(p)) => {
            let Some(&clock) = clocks.get(p.if_id as usize) else {
                bail!(
                    "packet {count} names interface {}, which is not described",
                    p.if_id
                );
            };
            let data = p.data.get(..p.caplen as usize).unwrap_or(p.data);
            Ok(Some(Packet {
                time: nanoseconds(u64::from(p.ts_high) << 32 | u64::from(p.ts_low), clock),
                data,
                original_len: p.origlen,
            }))
        }
        PcapBlockOwned::NG(Block::SimplePacket(p)) => {
            let data = p.data.get(..p.origlen as usize).unwrap_or(p.data);
            Ok(Some(Packet {
                time: 0,
                data,
                original_len: p.origlen,
            }))
        }
        PcapBlockOwned::NG(_) => Ok(None),
    }
}

fn nanoseconds(ticks: u64, (per_second, offset): (u64, i64)) -> u64 {
    let ns = u128::from(ticks) * 1_000_000_000 / u128::from(per_second);
    let ns = i128::try_from(ns).unwrap_or(0) + i128::from(offset) * 1_000_000_000;
    u64::try_from(ns).unwrap_or(0)
}

/// A capture being written, with nanoseconds.
pub struct Writer(BufWriter<File>);

impl Writer {
    /// Creates a capture file.
    pub fn create(path: &Path, link: u32) -> Result<Self> {
        let file =
            File::create(path).with_context(|| format!("cannot create {}", path.display()))?;
        let mut out = BufWriter::new(file);
        out.write_all(&header(link))?;
        Ok(Self(out))
    }

    /// Writes a packet.
    pub fn write(&mut self, packet: &Packet<'_>) -> Result<()> {
        let words = [
            (packet.time / 1_000_000_000) as u32,
            (packet.time % 1_000_000_000) as u32,
            packet.data.len() as u32,
            packet.original_len,
        ];
        for word in words {
            self.0.write_all(&word.to_le_bytes())?;
        }
        Ok(self.0.write_all(packet.data)?)
    }

    /// Writes out what is still held.
    pub fn finish(mut self) -> Result<()> {
        Ok(self.0.flush()?)
    }
}

/// Magic number (nanoseconds), version 2.4, zone, accuracy, longest packet,
/// link type.
fn header(link: u32) -> Vec<u8> {
    let words = [0xa1b2_3c4d, 4 << 16 | 2, 0, 0, 262_144, link];
    words.iter().flat_map(|w: &u32| w.to_le_bytes()).collect()
}

#[cfg(test)]
mod tests;
