//! Which numbers mattered.
//!
//! A state that was explored to its end may stand in for a later one although
//! numbers differ, as long as no proof rested on them. So for each number we
//! remember where it came from: a node, with the nodes of the numbers it was
//! computed from as parents. At every checkpoint each live number gets a fresh
//! node of its own (child of the old one). When a proof rests on a number, its
//! node and all ancestors become *precise*; a checkpoint then compares just
//! those of its numbers whose own node is precise.
use alloc::vec::Vec;

/// Names a node; 0 is the node of constants and of values from outside, on
/// which nothing earlier has an influence.
pub(crate) type NodeId = u32;

/// How much the value of a number matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Weight {
    /// No proof rested on it.
    None,
    /// It was compared with a state whose proofs are not finished, so it may.
    Maybe,
    /// A proof rested on it.
    Proof,
}

/// All nodes of one verification.
pub(crate) struct Nodes {
    parents: Vec<[NodeId; 2]>,
    weights: Vec<Weight>,
    todo: Vec<NodeId>,
    all: bool,
}

impl Nodes {
    pub fn new() -> Self {
        Self {
            parents: alloc::vec![[0; 2]],
            weights: alloc::vec![Weight::Proof],
            todo: Vec::new(),
            all: false,
        }
    }

    /// From now on every number counts as precise.
    pub fn all_precise(&mut self) {
        self.all = true;
    }

    /// Whether every number counts as precise.
    pub fn are_all_precise(&self) -> bool {
        self.all
    }

    /// A node of its own for a number at a checkpoint.
    pub fn child(&mut self, of: NodeId) -> NodeId {
        self.add([of, 0])
    }

    /// The node of what is computed from two numbers.
    pub fn join(&mut self, a: NodeId, b: NodeId) -> NodeId {
        if a == b || b == 0 {
            a
        } else if a == 0 {
            b
        } else {
            self.add([a, b])
        }
    }

    fn add(&mut self, parents: [NodeId; 2]) -> NodeId {
        let id = self.parents.len() as NodeId;
        self.parents.push(parents);
        self.weights.push(Weight::None);
        id
    }

    /// How much the number matters. Only meaningful for a checkpoint's own
    /// nodes, which are never 0.
    pub fn weight(&self, id: NodeId) -> Weight {
        if self.all {
            return Weight::Proof;
        }
        self.weights
            .get(id as usize)
            .copied()
            .unwrap_or(Weight::Proof)
    }

    /// Whether a state's number must agree for it to stand in for another.
    pub fn is_precise(&self, id: NodeId) -> bool {
        self.weight(id) != Weight::None
    }

    /// Records that a proof rests on the number.
    pub fn mark(&mut self, id: NodeId) {
        self.mark_as(id, Weight::Proof);
    }

    /// Raises the weight of a number and of those that it came from.
    pub fn mark_as(&mut self, id: NodeId, weight: Weight) {
        self.todo.push(id);
        while let Some(n) = self.todo.pop() {
            let Some(now) = self.weights.get_mut(n as usize) else {
                continue;
            };
            if *now >= weight {
                continue;
            }
            *now = weight;
            if let Some(parents) = self.parents.get(n as usize) {
                self.todo.extend(parents.iter().filter(|&&p| p != 0));
            }
        }
    }
}
