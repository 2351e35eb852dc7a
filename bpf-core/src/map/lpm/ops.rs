//! Updates and deletes, under the lock.

use super::super::error::MapError;
use super::super::version::{Held, bump, hold, release};
use super::prefix::Prefix;
use super::{COUNT, DATA, FREE, FRESH, INTERMEDIATE, LENGTH, Lpm, Node, ROOT, VERSION};
use crate::uapi::{elem_flags as f, errno};

/// How far a walk to a prefix comes.
struct Reached {
    /// Offset of the link that it ends at.
    link: u64,
    /// What is there.
    node: Option<Node>,
    /// How many bits the prefix shares with it.
    shared: u32,
    /// The node that the link is in, and the link that leads to that.
    parent: Option<(Node, u64)>,
}

impl Lpm {
    fn reach(&self, key: &Prefix<'_>) -> Reached {
        let mut at = Reached {
            link: ROOT,
            node: self.follow(ROOT),
            shared: 0,
            parent: None,
        };
        for _ in 0..=self.bits() {
            let Some(node) = at.node else { break };
            let length = self.length(node);
            at.shared = self.shared(node, key);
            if at.shared != length || length == key.length {
                break;
            }
            at.parent = Some((node, at.link));
            at.link = Self::child(node, key.bit(length));
            at.node = self.follow(at.link);
        }
        at
    }

    pub(in super::super) fn update(
        &self,
        key: &[u8],
        value: &[u8],
        flags: u64,
    ) -> Result<(), MapError> {
        if flags > f::EXIST {
            return Err(MapError::FLAGS);
        }
        let key = self.parse(key).ok_or(MapError::KEY_SIZE)?;
        if key.length > self.bits() {
            return Err(MapError::invalid(
                "the prefix is longer than the key's data",
            ));
        }
        if value.len() != self.value_size {
            return Err(MapError::VALUE_SIZE);
        }
        let mut h = hold(&self.region, VERSION)?;
        let replaced = self.place(&key, value, flags);
        let done = replaced.map(|node| self.give_back(&mut h, [node, None]));
        release(&self.region, h);
        done
    }

    /// Puts a prefix where it belongs. Gives the node that it replaced.
    fn place(&self, key: &Prefix<'_>, value: &[u8], flags: u64) -> Result<Option<Node>, MapError> {
        let at = self.reach(key);
        let same = at
            .node
            .filter(|n| self.length(*n) == key.length && at.shared == key.length);
        match same.filter(|n| !self.is_intermediate(*n)) {
            Some(_) if flags == f::NOEXIST => return Err(MapError::KEY_EXISTS),
            Some(_) => {}
            None => self.check_room(flags)?,
        }
        let new = self.take_node()?;
        self.write(new, key.length, key.data, false);
        self.region.copy_in(new.0 + self.l.value, value);
        if let Some(old) = same {
            for bit in [false, true] {
                self.set(Self::child(new, bit), self.follow(Self::child(old, bit)));
            }
            if self.is_intermediate(old) {
                self.count(1);
            }
            self.set(at.link, Some(new));
            return Ok(Some(old));
        }
        let top = match at.node {
            None => new,
            Some(below) if at.shared == key.length => {
                self.set(
                    Self::child(new, self.node_bit(below, key.length)),
                    Some(below),
                );
                new
            }
            Some(below) => self.join(new, below, key, at.shared)?,
        };
        self.count(1);
        self.set(at.link, Some(top));
        Ok(None)
    }

    /// An intermediate node over two that part after `shared` bits.
    fn join(
        &self,
        new: Node,
        other: Node,
        key: &Prefix<'_>,
        shared: u32,
    ) -> Result<Node, MapError> {
        let top = match self.take_node() {
            Ok(top) => top,
            Err(e) => {
                self.give_node(new);
                return Err(e);
            }
        };
        self.write(top, shared, key.data, true);
        let bit = key.bit(shared);
        self.set(Self::child(top, bit), Some(new));
        self.set(Self::child(top, !bit), Some(other));
        Ok(top)
    }

    fn check_room(&self, flags: u64) -> Result<(), MapError> {
        if flags == f::EXIST {
            return Err(MapError::NO_KEY);
        }
        if self.region.load_u32(COUNT) >= self.capacity {
            return Err(MapError::new(errno::ENOSPC, "the trie is full"));
        }
        Ok(())
    }

    pub(in super::super) fn delete(&self, key: &[u8]) -> Result<(), MapError> {
        let key = self.parse(key).ok_or(MapError::KEY_SIZE)?;
        if key.length > self.bits() {
            return Err(MapError::invalid(
                "the prefix is longer than the key's data",
            ));
        }
        let mut h = hold(&self.region, VERSION)?;
        let removed = self.unlink(&key);
        let done = removed.map(|nodes| self.give_back(&mut h, nodes));
        release(&self.region, h);
        done
    }

    /// Takes a prefix out. Gives the nodes that are not needed any more.
    fn unlink(&self, key: &Prefix<'_>) -> Result<[Option<Node>; 2], MapError> {
        let at = self.reach(key);
        let node = at
            .node
            .filter(|n| self.length(*n) == key.length && at.shared == key.length)
            .filter(|n| !self.is_intermediate(*n))
            .ok_or(MapError::NO_KEY)?;
        self.count(u32::MAX);
        let children = [false, true].map(|b| self.follow(Self::child(node, b)));
        let only = match children {
            [Some(_), Some(_)] => {
                self.region.store_u32(node.0 + INTERMEDIATE, 1);
                return Ok([None, None]);
            }
            [a, b] => a.or(b),
        };
        // An intermediate parent that is left with one child goes, too.
        if only.is_none()
            && let Some((parent, link)) = at.parent.filter(|(p, _)| self.is_intermediate(*p))
        {
            let sibling = Self::child(parent, at.link == Self::child(parent, false));
            self.set(link, self.follow(sibling));
            return Ok([Some(node), Some(parent)]);
        }
        self.set(at.link, only);
        Ok([Some(node), None])
    }

    fn write(&self, node: Node, length: u32, data: &[u8], intermediate: bool) {
        let r = &self.region;
        r.store_u64(node.0, 0);
        r.store_u32(node.0 + LENGTH, length);
        r.store_u32(node.0 + INTERMEDIATE, u32::from(intermediate));
        r.copy_in(node.0 + DATA, data);
    }

    fn set(&self, link: u64, node: Option<Node>) {
        self.region.store_u32(link, self.link_to(node));
    }

    fn count(&self, by: u32) {
        self.region.fetch_add_u32(COUNT, by);
    }

    /// A node that is in no one's hands; the lock is held.
    fn take_node(&self) -> Result<Node, MapError> {
        if let Some(node) = self.follow(FREE) {
            self.region.store_u32(FREE, self.region.load_u32(node.0));
            return Ok(node);
        }
        let n = self.region.load_u32(FRESH);
        if n >= self.l.nodes {
            return Err(MapError::new(errno::ENOMEM, "no node is left"));
        }
        self.region.store_u32(FRESH, n + 1);
        Ok(Node(self.l.base + u64::from(n) * self.l.stride))
    }

    /// Lists a node as free; the lock is held.
    pub(super) fn give_node(&self, node: Node) {
        self.region.store_u32(node.0, self.region.load_u32(FREE));
        self.set(FREE, Some(node));
    }

    /// Lists nodes as free, after readers were told that something changed.
    fn give_back(&self, h: &mut Held, nodes: [Option<Node>; 2]) {
        h.changed = true;
        bump(&self.region, h);
        for node in nodes.into_iter().flatten() {
            self.give_node(node);
        }
    }
}
