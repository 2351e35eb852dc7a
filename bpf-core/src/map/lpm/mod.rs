//! The longest-prefix-match trie.
//!
//! ```text
//! control  64 B   lock and version, root, counts, free nodes
//! nodes           children, prefix length, flags, data, value
//! ```
//!
//! A binary trie with compressed paths, as Linux's: a node stands for a prefix;
//! where two prefixes part and neither covers the other, an intermediate node
//! without a value joins them, so `max_entries` prefixes never need more than
//! twice as many nodes. An update puts a new node in place of the old one. One
//! lock for writers is the version for readers ([`version`](super::version)).
//!
//! Prefix lengths grow on the way down, which bounds every walk, whatever the
//! storage says.

mod mend;
mod ops;
mod prefix;
mod walk;

use super::geometry::{Geometry, round8};
use super::region::Region;
use prefix::Prefix;

/// Where a trie's parts lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LpmLayout {
    /// Nodes: twice the capacity, and one that an update fills before it takes
    /// the old one out.
    pub nodes: u32,
    /// Offset of node 0.
    pub base: u64,
    /// Bytes from one node to the next.
    pub stride: u64,
    /// Offset of the value in a node.
    pub value: u64,
}

/// Lock and version.
const VERSION: u64 = 0;
/// The root, as a link.
const ROOT: u64 = 4;
/// Prefixes in the trie.
const COUNT: u64 = 8;
/// Nodes ever handed out.
const FRESH: u64 = 12;
/// List of free nodes, linked through their first child.
const FREE: u64 = 16;

/// What links count in: a link is a node's offset in such units, 0 none. One
/// that names no node's beginning still lies in the storage.
const UNIT: u64 = 8;

/// In a node: two links to children.
const CHILD: u64 = 0;
/// In a node: length of the prefix in bits.
const LENGTH: u64 = 8;
/// In a node: 1 for an intermediate node.
const INTERMEDIATE: u64 = 12;
/// In a node: the bits, as the key gave them.
const DATA: u64 = 16;

impl LpmLayout {
    /// The layout and its length.
    pub(super) fn new(geo: &Geometry) -> Option<(LpmLayout, u64)> {
        let nodes = geo.max_entries.checked_mul(2)?.checked_add(1)?;
        let value = DATA + round8(geo.key_size - 4);
        let stride = value + round8(geo.value_size);
        let len = u64::from(nodes).checked_mul(stride)?.checked_add(64)?;
        Some((
            LpmLayout {
                nodes,
                base: 64,
                stride,
                value,
            },
            len,
        ))
    }
}

/// A trie's storage.
pub(super) struct Lpm {
    region: Region,
    l: LpmLayout,
    key_size: usize,
    value_size: usize,
    capacity: u32,
    /// Offset of the last node.
    last: u64,
}

/// A node, by its offset.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Node(u64);

impl Lpm {
    pub(super) fn new(geo: &Geometry, l: LpmLayout, region: Region) -> Lpm {
        Lpm {
            last: l.base + u64::from(l.nodes - 1) * l.stride,
            region,
            l,
            key_size: geo.key_size as usize,
            value_size: geo.value_size as usize,
            capacity: geo.max_entries,
        }
    }

    /// The longest prefix that keys can have, in bits.
    fn bits(&self) -> u32 {
        (self.key_size as u32 - 4) * 8
    }

    fn parse<'a>(&self, key: &'a [u8]) -> Option<Prefix<'a>> {
        Prefix::parse(key).filter(|_| key.len() == self.key_size)
    }

    /// The node that the link at `off` names.
    #[inline(always)]
    fn follow(&self, off: u64) -> Option<Node> {
        let at = u64::from(self.region.load_u32(off)) * UNIT;
        (at >= self.l.base && at <= self.last).then_some(Node(at))
    }

    /// The link that names a node.
    fn link_to(&self, node: Option<Node>) -> u32 {
        node.map_or(0, |n| (n.0 / UNIT) as u32)
    }

    /// Offset of a node's link to a child.
    #[inline(always)]
    fn child(node: Node, bit: bool) -> u64 {
        node.0 + CHILD + u64::from(bit) * 4
    }

    #[inline(always)]
    fn length(&self, node: Node) -> u32 {
        self.region.load_u32(node.0 + LENGTH)
    }

    fn is_intermediate(&self, node: Node) -> bool {
        self.region.load_u32(node.0 + INTERMEDIATE) != 0
    }

    /// How many leading bits of a node's prefix a key shares.
    #[inline(always)]
    fn shared(&self, node: Node, key: &Prefix<'_>) -> u32 {
        let limit = self.length(node).min(key.length);
        let mut shared = 0;
        let mut word = 0;
        while shared < limit && shared < self.bits() {
            let bits = self
                .region
                .load_u64(node.0 + DATA + u64::from(word) * 8)
                .swap_bytes();
            let same = (bits ^ key.word(word)).leading_zeros();
            shared += same;
            word += 1;
            if same < 64 {
                break;
            }
        }
        shared.min(limit)
    }

    /// Bit `i` of a node's data.
    fn node_bit(&self, node: Node, i: u32) -> bool {
        let byte = self
            .region
            .load_u8(node.0 + DATA + u64::from((i / 8).min(self.bits() / 8 - 1)));
        byte >> (7 - i % 8) & 1 != 0
    }
}
