//! One call: the caller's attributes, checked as Linux checks them.

use super::attr::{Attr, SIZE};
use super::{Fault, Refused, Session, UserMemory};
use bpf_core::uapi::errno;
use std::os::fd::{IntoRawFd, OwnedFd, RawFd};

pub(super) type Result<T> = std::result::Result<T, Refused>;

/// `PAGE_SIZE`: attributes are never longer.
const LONGEST: usize = 4096;
const PAGE: u64 = 4096;

pub(super) struct Call<'a, M> {
    pub session: &'a Session<M>,
    /// The attributes as they were, with zeros behind.
    attr: [u8; SIZE],
    user: &'a mut [u8],
}

pub(super) fn refuse(errno: i32, message: impl Into<String>) -> Refused {
    Refused {
        errno,
        message: message.into(),
    }
}

pub(super) fn invalid(message: impl Into<String>) -> Refused {
    refuse(errno::EINVAL, message)
}

impl From<Fault> for Refused {
    fn from(f: Fault) -> Self {
        refuse(errno::EFAULT, f.to_string())
    }
}

impl<'a, M: UserMemory> Call<'a, M> {
    pub fn new(session: &'a Session<M>, user: &'a mut [u8]) -> Result<Self> {
        let known = user.len().min(SIZE);
        if user.len() > LONGEST || user[known..].iter().any(|&b| b != 0) {
            return Err(refuse(
                errno::E2BIG,
                format!(
                    "attributes of {} bytes: {SIZE} are known, what follows must be zero",
                    user.len()
                ),
            ));
        }
        let mut attr = [0; SIZE];
        attr[..known].copy_from_slice(&user[..known]);
        Ok(Self {
            session,
            attr,
            user,
        })
    }

    /// The command's member of the union; all behind it must be zero.
    pub fn get<T: Attr>(&self) -> Result<T> {
        self.get_until::<T>(T::END)
    }

    /// [`Call::get`] for a command that uses the member up to `end` only.
    pub fn get_until<T: Attr>(&self, end: usize) -> Result<T> {
        if let Some(at) = self.attr[end..].iter().position(|&b| b != 0) {
            return Err(invalid(format!(
                "byte {} of the attributes is not zero, but the last field ends at {end}",
                end + at
            )));
        }
        let (value, _) = T::read_from_prefix(&self.attr)
            .map_err(|_| invalid("the attributes are shorter than expected"))?;
        Ok(value)
    }

    /// Puts a result into the caller's attributes, as far as they reach.
    pub fn put(&mut self, offset: usize, word: u32) {
        if let Some(to) = self.user.get_mut(offset..offset + 4) {
            to.copy_from_slice(&word.to_ne_bytes());
        }
    }

    pub fn read(&self, addr: u64, into: &mut [u8]) -> Result<()> {
        if into.is_empty() {
            return Ok(());
        }
        Ok(self.session.memory.read(addr, into)?)
    }

    pub fn read_vec(&self, addr: u64, len: usize) -> Result<Vec<u8>> {
        let mut bytes = vec![0; len];
        self.read(addr, &mut bytes)?;
        Ok(bytes)
    }

    pub fn write(&self, addr: u64, from: &[u8]) -> Result<()> {
        if from.is_empty() {
            return Ok(());
        }
        Ok(self.session.memory.write(addr, from)?)
    }

    /// A zero-terminated string, cut off after `most` bytes. Memory behind its
    /// end need not be there.
    pub fn read_string(&self, addr: u64, most: usize) -> Result<String> {
        let mut text = Vec::new();
        while text.len() < most {
            let at = addr.wrapping_add(text.len() as u64);
            let to_page_end = (PAGE - at % PAGE) as usize;
            let part = self.read_vec(at, to_page_end.min(most - text.len()))?;
            let end = part.iter().position(|&b| b == 0);
            text.extend_from_slice(&part[..end.unwrap_or(part.len())]);
            if end.is_some() {
                break;
            }
        }
        Ok(String::from_utf8_lossy(&text).into_owned())
    }

    /// `bpf_check_uarg_tail_zero`: a structure may be longer than `known` if it
    /// is zero there. Gives the known part, padded with zeros.
    pub fn read_struct(&self, addr: u64, len: u32, known: usize) -> Result<Vec<u8>> {
        let len = len as usize;
        if len > LONGEST {
            return Err(refuse(
                errno::E2BIG,
                format!("a structure of {len} bytes, expected at most {LONGEST}"),
            ));
        }
        let mut bytes = self.read_vec(addr, len)?;
        if bytes.iter().skip(known).any(|&b| b != 0) {
            return Err(refuse(
                errno::E2BIG,
                format!("a structure of {len} bytes: {known} are known, the rest must be zero"),
            ));
        }
        bytes.resize(known, 0);
        Ok(bytes)
    }
}

/// A descriptor as the attributes hold it.
pub(super) fn fd(number: u32) -> RawFd {
    number as RawFd
}

/// The answer of a command that makes a descriptor.
pub(super) fn answer(fd: OwnedFd) -> Result<i64> {
    Ok(i64::from(fd.into_raw_fd()))
}

/// The name in a zero-padded field: EINVAL where the zero is missing.
pub(super) fn name(field: &[u8; 16]) -> Result<String> {
    let end = field
        .iter()
        .position(|&b| b == 0)
        .ok_or_else(|| invalid("a name has 15 bytes at most, and a zero"))?;
    String::from_utf8(field[..end].to_vec())
        .map_err(|_| invalid("a name has letters, digits, '_' and '.' only"))
}
