//! Commands in a row, and what came of each.

use crate::side::{Side, own};
use bpf_core::insn::Insn;
use bpf_core::uapi::Cmd;
use std::os::fd::{AsRawFd, OwnedFd};

/// An address where nothing is mapped.
pub const NOWHERE: u64 = 8;

/// Attributes: bytes with words put into them.
#[derive(Clone)]
pub struct Attr(pub Vec<u8>);

impl Attr {
    pub fn new(len: usize) -> Self {
        Self(vec![0; len])
    }

    pub fn u32(mut self, at: usize, word: impl Into<i64>) -> Self {
        let word = (word.into() as u32).to_ne_bytes();
        self.0[at..at + 4].copy_from_slice(&word);
        self
    }

    pub fn u64(mut self, at: usize, word: u64) -> Self {
        self.0[at..at + 8].copy_from_slice(&word.to_ne_bytes());
        self
    }

    pub fn bytes(mut self, at: usize, bytes: &[u8]) -> Self {
        self.0[at..at + bytes.len()].copy_from_slice(bytes);
        self
    }

    pub fn word(&self, at: usize) -> u32 {
        u32::from_ne_bytes(self.0[at..at + 4].try_into().unwrap())
    }
}

pub fn addr(bytes: &[u8]) -> u64 {
    bytes.as_ptr().expose_provenance() as u64
}

pub fn addr_mut(bytes: &mut [u8]) -> u64 {
    bytes.as_mut_ptr().expose_provenance() as u64
}

/// Commands to one side, with a transcript.
pub struct Script<'s> {
    side: &'s dyn Side,
    pub lines: Vec<String>,
    fds: Vec<OwnedFd>,
}

impl<'s> Script<'s> {
    pub fn new(side: &'s dyn Side) -> Self {
        Self {
            side,
            lines: Vec::new(),
            fds: Vec::new(),
        }
    }

    pub fn note(&mut self, what: &str, value: impl std::fmt::Debug) {
        self.lines.push(format!("{what}: {value:?}"));
    }

    /// A command that answers 0 or an errno.
    pub fn call(&mut self, what: &str, cmd: Cmd, attr: &mut Attr) -> Result<i64, i32> {
        let answer = self.side.bpf(cmd as u32, &mut attr.0);
        self.lines
            .push(format!("{}, {what}: {answer:?}", cmd.name()));
        answer
    }

    pub fn number(&mut self, what: &str, cmd: u32, attr: &mut Attr) {
        let answer = self.side.bpf(cmd, &mut attr.0);
        self.lines
            .push(format!("command {cmd}, {what}: {answer:?}"));
    }

    /// A command that answers a descriptor, -1 if it does not.
    pub fn open(&mut self, what: &str, cmd: Cmd, mut attr: Attr) -> i32 {
        self.open_in(what, cmd, &mut attr)
    }

    pub fn open_in(&mut self, what: &str, cmd: Cmd, attr: &mut Attr) -> i32 {
        let answer = self.side.bpf(cmd as u32, &mut attr.0);
        let told = answer.map(|_| "a descriptor");
        self.lines.push(format!("{}, {what}: {told:?}", cmd.name()));
        let Ok(fd) = answer else { return -1 };
        self.fds.push(own(fd));
        fd as i32
    }

    /// Takes a pin away.
    pub fn unpin(&self, path: &str) {
        self.side.unpin(path);
    }

    /// A command that is to fail with this errno, soon: the last descriptor was
    /// closed just now.
    pub fn fails_soon(&mut self, what: &str, cmd: Cmd, attr: &Attr, errno: i32) {
        let begin = std::time::Instant::now();
        let mut answer = Ok(0);
        while begin.elapsed().as_secs() < 5 {
            answer = self.side.bpf(cmd as u32, &mut attr.0.clone());
            match answer {
                Err(e) if e == errno => break,
                Ok(fd) if fd > 0 => drop(own(fd)),
                _ => {}
            }
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        self.lines
            .push(format!("{}, {what}: {answer:?}", cmd.name()));
    }

    pub fn close(&mut self, fd: i32) {
        self.fds.retain(|f| f.as_raw_fd() != fd);
    }

    /// A map, with the name `m`.
    pub fn map(&mut self, map_type: u32, key: u32, value: u32, entries: u32, flags: u32) -> i32 {
        let attr = map_attr(map_type, key, value, entries, flags);
        self.open(
            &format!("type {map_type} {key}/{value}"),
            Cmd::MapCreate,
            attr,
        )
    }

    pub fn program(&mut self, prog_type: u32, insns: &[Insn]) -> i32 {
        let text = text(insns);
        let attr = load_attr(prog_type, &text);
        self.open("a program", Cmd::ProgLoad, attr)
    }
}

pub fn map_attr(map_type: u32, key: u32, value: u32, entries: u32, flags: u32) -> Attr {
    Attr::new(168)
        .u32(0, map_type)
        .u32(4, key)
        .u32(8, value)
        .u32(12, entries)
        .u32(16, flags)
        .bytes(28, b"m")
}

pub const GPL: &[u8] = b"GPL\0";

pub fn load_attr(prog_type: u32, text: &[u8]) -> Attr {
    Attr::new(168)
        .u32(0, prog_type)
        .u32(4, (text.len() / 8) as u32)
        .u64(8, addr(text))
        .u64(16, addr(GPL))
        .bytes(48, b"p")
}

pub fn text(insns: &[Insn]) -> Vec<u8> {
    insns.iter().flat_map(|i| i.to_bytes()).collect()
}

pub fn elem(fd: i32, key: u64, value: u64, flags: u64) -> Attr {
    Attr::new(32)
        .u32(0, fd)
        .u64(8, key)
        .u64(16, value)
        .u64(24, flags)
}
