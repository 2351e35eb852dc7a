//! Checking a trie whole, and listing anew what is free.

use super::super::error::MapError;
use super::super::mend::{Seen, damage};
use super::{COUNT, DATA, FREE, FRESH, INTERMEDIATE, Lpm, Node, ROOT, VERSION};
use alloc::vec::Vec;

impl Lpm {
    /// See [`mend`](super::super::mend).
    pub(in super::super) fn mend(&self) -> Result<(), MapError> {
        let mut used = Seen::none_of(self.l.nodes);
        let mut count = 0;
        let mut links: Vec<(u64, Option<(Node, bool)>)> = alloc::vec![(ROOT, None)];
        while let Some((link, parent)) = links.pop() {
            if self.region.load_u32(link) == 0 {
                continue;
            }
            let node = self.mend_node(link, parent, &mut used)?;
            count += u32::from(!self.is_intermediate(node));
            for bit in [false, true] {
                links.push((Self::child(node, bit), Some((node, bit))));
            }
        }
        if count > self.capacity {
            return Err(damage("the trie has more prefixes than it may have"));
        }
        let end = used.last_below(self.l.nodes).map_or(0, |n| n + 1);
        self.region.store_u32(FREE, 0);
        self.region.store_u32(FRESH, end);
        self.region.store_u32(COUNT, count);
        for n in (0..end).filter(|n| !used.has(*n)) {
            self.give_node(Node(self.l.base + u64::from(n) * self.l.stride));
        }
        let word = self.region.load_u32(VERSION);
        self.region.store_u32(VERSION, (word | 1).wrapping_add(1));
        Ok(())
    }

    /// The node that a link names, which must fit below its parent.
    fn mend_node(
        &self,
        link: u64,
        parent: Option<(Node, bool)>,
        used: &mut Seen,
    ) -> Result<Node, MapError> {
        let astray = damage("a link of the trie leads astray");
        let node = self.follow(link).ok_or(astray)?;
        let from = node.0 - self.l.base;
        let n = u32::try_from(from / self.l.stride).map_err(|_| astray)?;
        if !from.is_multiple_of(self.l.stride) || !used.add(n) {
            return Err(astray);
        }
        let above = parent.map_or(0, |(p, _)| self.length(p));
        let fits = parent.is_none_or(|(p, bit)| {
            self.length(node) > above
                && self.node_bit(node, above) == bit
                && self.same_prefix(p, node, above)
        });
        if !fits || self.length(node) > self.bits() {
            return Err(damage("a prefix of the trie is in the wrong place"));
        }
        if self.region.load_u32(node.0 + INTERMEDIATE) > 1 {
            return Err(damage("a node of the trie is of no kind"));
        }
        Ok(node)
    }

    fn same_prefix(&self, a: Node, b: Node, bits: u32) -> bool {
        let byte = |n: Node, i: u32| self.region.load_u8(n.0 + DATA + u64::from(i));
        let whole = bits / 8;
        (0..whole).all(|i| byte(a, i) == byte(b, i))
            && (whole * 8..bits).all(|i| self.node_bit(a, i) == self.node_bit(b, i))
    }
}
