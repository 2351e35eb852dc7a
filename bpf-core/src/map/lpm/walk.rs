//! Reading the trie: the longest match, and the next key.

use super::super::error::{MapError, ReadError};
use super::super::version::{hold, release, steady};
use super::prefix::Prefix;
use super::{DATA, LENGTH, Lpm, Node, ROOT, VERSION};

impl Lpm {
    /// The node on the way down to `key` that `visit` stops at. It is told each
    /// node, and how many bits the key shares with it.
    #[inline(always)]
    fn descend(&self, key: &Prefix<'_>, mut visit: impl FnMut(Node, u32) -> bool) {
        let mut link = ROOT;
        let mut least = 0;
        while let Some(node) = self.follow(link) {
            let length = self.length(node);
            if length < least || length > self.bits() {
                return;
            }
            let shared = self.shared(node, key);
            if !visit(node, shared) || shared < length || length == self.bits() {
                return;
            }
            least = length + 1;
            link = Self::child(node, key.bit(length));
        }
    }

    #[inline(always)]
    fn longest(&self, key: &Prefix<'_>) -> Option<Node> {
        let mut found = None;
        self.descend(key, |node, shared| {
            if shared == self.length(node) && !self.is_intermediate(node) {
                found = Some(node);
            }
            true
        });
        found
    }

    /// Reads until the trie stayed the same meanwhile, at last under the lock.
    #[inline(always)]
    fn for_sure<T>(&self, mut read: impl FnMut() -> T) -> Result<T, MapError> {
        if let Some(t) = steady(&self.region, VERSION, &mut read) {
            return Ok(t);
        }
        let h = hold(&self.region, VERSION)?;
        let t = read();
        release(&self.region, h);
        Ok(t)
    }

    /// The address of the value of the longest matching prefix.
    #[inline]
    pub(in super::super) fn lookup(&self, key: &[u8]) -> Option<u64> {
        let key = self.parse(key).filter(|k| k.length <= self.bits())?;
        let node = self.for_sure(|| self.longest(&key)).ok()??;
        Some(self.region.addr(node.0 + self.l.value))
    }

    fn copy(&self, key: &[u8], out: &mut [u8]) -> Result<(), MapError> {
        let key = self.parse(key).ok_or(MapError::KEY_SIZE)?;
        if out.len() != self.value_size {
            return Err(MapError::VALUE_SIZE);
        }
        let found = if key.length <= self.bits() {
            self.longest(&key)
        } else {
            None
        };
        let node = found.ok_or(MapError::NO_KEY)?;
        self.region.copy_out(node.0 + self.l.value, out);
        Ok(())
    }

    /// The guest's copying lookup.
    pub(in super::super) fn read_locked(&self, key: &[u8], out: &mut [u8]) -> Result<(), MapError> {
        self.for_sure(|| self.copy(key, out))?
    }

    /// The host's lookup.
    pub(in super::super) fn read(&self, key: &[u8], out: &mut [u8]) -> Result<(), ReadError> {
        let copied = steady(&self.region, VERSION, || self.copy(key, out));
        Ok(copied.ok_or(ReadError::AskGuest)??)
    }

    /// The guest's next key.
    pub(in super::super) fn next_key_locked(
        &self,
        key: Option<&[u8]>,
        out: &mut [u8],
    ) -> Result<(), MapError> {
        self.for_sure(|| self.next(key, out))?
    }

    /// The host's next key.
    pub(in super::super) fn next_key(
        &self,
        key: Option<&[u8]>,
        out: &mut [u8],
    ) -> Result<(), ReadError> {
        let copied = steady(&self.region, VERSION, || self.next(key, out));
        Ok(copied.ok_or(ReadError::AskGuest)??)
    }

    /// Copies the key after `key` out, in the order: a prefix, then what it
    /// covers, zeros before ones.
    fn next(&self, key: Option<&[u8]>, out: &mut [u8]) -> Result<(), MapError> {
        if out.len() != self.key_size {
            return Err(MapError::KEY_SIZE);
        }
        let begin = match key {
            None => self.follow(ROOT),
            Some(key) => {
                let key = self.parse(key).ok_or(MapError::KEY_SIZE)?;
                match self.after(&key) {
                    Some(next) => next,
                    None => self.follow(ROOT),
                }
            }
        };
        let node = begin.and_then(|n| self.first(n)).ok_or(MapError::NO_KEY)?;
        let (length, data) = out.split_at_mut(4);
        length.copy_from_slice(&self.region.load_u32(node.0 + LENGTH).to_le_bytes());
        self.region.copy_out(node.0 + DATA, data);
        Ok(())
    }

    /// Where the walk goes on after `key`; `None` where it is not there.
    fn after(&self, key: &Prefix<'_>) -> Option<Option<Node>> {
        let mut at = None;
        let mut turn = None;
        self.descend(key, |node, shared| {
            let length = self.length(node);
            if shared == length && length == key.length {
                at = Some(node);
                return false;
            }
            if !key.bit(length) {
                turn = self.follow(Self::child(node, true)).or(turn);
            }
            true
        });
        let node = at.filter(|n| !self.is_intermediate(*n))?;
        let below = [false, true]
            .into_iter()
            .find_map(|b| self.follow(Self::child(node, b)));
        Some(below.or(turn))
    }

    /// The first prefix with a value from a node down.
    fn first(&self, from: Node) -> Option<Node> {
        let mut node = from;
        for _ in 0..=self.bits() {
            if !self.is_intermediate(node) {
                return Some(node);
            }
            node = [false, true]
                .into_iter()
                .find_map(|b| self.follow(Self::child(node, b)))?;
        }
        None
    }
}
