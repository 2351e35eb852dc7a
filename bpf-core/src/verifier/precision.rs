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

/// A list that grows by pieces of this length: doubling a list of millions would
/// need more memory at once than a look at what is left can promise.
const PIECE: usize = 4096;

struct Pieces<T> {
    pieces: Vec<Vec<T>>,
}

impl<T> Pieces<T> {
    fn of(first: T) -> Self {
        let mut list = Self { pieces: Vec::new() };
        list.push(first);
        list
    }

    /// Adds an item and gives its index.
    fn push(&mut self, item: T) -> usize {
        let full = |piece: &Vec<T>| piece.len() == PIECE;
        if self.pieces.last().is_none_or(full) {
            self.pieces.push(Vec::new());
        }
        let before = (self.pieces.len() - 1) * PIECE;
        let Some(last) = self.pieces.last_mut() else {
            return before;
        };
        last.push(item);
        before + last.len() - 1
    }

    fn get(&self, at: usize) -> Option<&T> {
        self.pieces.get(at / PIECE)?.get(at % PIECE)
    }

    fn get_mut(&mut self, at: usize) -> Option<&mut T> {
        self.pieces.get_mut(at / PIECE)?.get_mut(at % PIECE)
    }
}

/// All nodes of one verification.
pub(crate) struct Nodes {
    parents: Pieces<[NodeId; 2]>,
    weights: Pieces<Weight>,
    todo: Vec<NodeId>,
    all: bool,
}

impl Nodes {
    pub fn new() -> Self {
        Self {
            parents: Pieces::of([0; 2]),
            weights: Pieces::of(Weight::Proof),
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
        self.weights.push(Weight::None);
        self.parents.push(parents) as NodeId
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
