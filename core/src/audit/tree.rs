//! The Merkle tree of RFC 9162, section 2.1, over the leaf hashes in the order of their positions. Position 1 is leaf 0.
//!
//! Nothing here holds a whole tree. Every subtree that a root or a proof is made of can be covered by perfect ones, and a perfect
//! subtree never changes again: whoever stores those of a few heights reads a bounded number for any proof.

use std::ops::Range;

use aws_lc_rs::digest;

pub type Hash = [u8; 32];

/// Prefix of an inner node's hash. Source: RFC 9162, 2.1.1.
const INNER: [u8; 1] = [1];

/// A perfect subtree: the leaves from `index << height`, `1 << height` of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Node {
    pub height: u32,
    pub index: u64,
}

fn sha256(parts: &[&[u8]]) -> Hash {
    let mut context = digest::Context::new(&digest::SHA256);
    for part in parts {
        context.update(part);
    }
    let mut hash = [0; 32];
    hash.copy_from_slice(context.finish().as_ref());
    hash
}

/// The hash above two subtrees that stand side by side.
pub fn parent(left: &Hash, right: &Hash) -> Hash {
    sha256(&[&INNER, left, right])
}

/// The root over subtrees of falling size, as [`cover`] lists those of one subtree.
pub fn fold(hashes: &[Hash]) -> Hash {
    let Some((last, before)) = hashes.split_last() else { return sha256(&[]) };
    before.iter().rev().fold(*last, |right, left| parent(left, &right))
}

/// The largest perfect subtrees that make up these leaves, from left to right.
pub fn cover(leaves: Range<u64>) -> Vec<Node> {
    let (mut at, mut nodes) = (leaves.start, Vec::new());
    while at < leaves.end {
        let height = at.trailing_zeros().min((leaves.end - at).ilog2());
        nodes.push(Node { height, index: at >> height });
        at += 1 << height;
    }
    nodes
}

/// The largest power of two below `size`, which must be 2 at least: how many leaves stand left of the root. Source: RFC 9162, 2.1.1.
const fn split(size: u64) -> u64 {
    1 << (size - 1).ilog2()
}

/// The right edge of a growing tree: the roots of its largest perfect subtrees, the largest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Frontier {
    size: u64,
    hashes: Vec<Hash>,
}

impl Frontier {
    /// From the hashes of `cover(0..size)`; `None` when their number is another.
    pub fn of(size: u64, hashes: Vec<Hash>) -> Option<Self> {
        (hashes.len() == size.count_ones() as usize).then_some(Self { size, hashes })
    }

    pub const fn size(&self) -> u64 {
        self.size
    }

    /// Appends a leaf and tells `made` of every inner node that is whole by it.
    pub fn push(&mut self, leaf: Hash, made: impl FnMut(Node, Hash)) {
        self.carry(0, leaf, made);
    }

    /// Appends a whole subtree; `None`, and nothing is done, where none of this height can begin.
    pub fn push_subtree(&mut self, height: u32, hash: Hash) -> Option<()> {
        let fits =
            height < u64::BITS && self.size.trailing_zeros() >= height && self.size.checked_add(1 << height).is_some();
        fits.then(|| self.carry(height, hash, |_, _| ()))
    }

    fn carry(&mut self, mut height: u32, mut hash: Hash, mut made: impl FnMut(Node, Hash)) {
        let grown = self.size + (1 << height);
        while (self.size >> height) & 1 == 1
            && let Some(left) = self.hashes.pop()
        {
            hash = parent(&left, &hash);
            height += 1;
            made(Node { height, index: (grown >> height) - 1 }, hash);
        }
        self.hashes.push(hash);
        self.size = grown;
    }

    pub fn root(&self) -> Hash {
        fold(&self.hashes)
    }
}

/// The subtrees whose roots prove that leaf `index` stands in the tree of this size, the lowest first. `None` when it does not.
/// Source: RFC 9162, 2.1.3.1.
pub fn inclusion(index: u64, size: u64) -> Option<Vec<Range<u64>>> {
    if index >= size {
        return None;
    }
    let (mut from, mut to, mut path) = (0, size, Vec::new());
    while to - from > 1 {
        let middle = from + split(to - from);
        if index < middle {
            path.push(middle..to);
            to = middle;
        } else {
            path.push(from..middle);
            from = middle;
        }
    }
    path.reverse();
    Some(path)
}

/// The subtrees whose roots prove that the tree of size `old` is the beginning of the one of size `new`. `None` when it cannot be.
/// Source: RFC 9162, 2.1.4.1.
pub fn consistency(old: u64, new: u64) -> Option<Vec<Range<u64>>> {
    if old == 0 || old > new {
        return None;
    }
    let (mut from, mut to, mut path) = (0, new, Vec::new());
    while old != to {
        let middle = from + split(to - from);
        if old <= middle {
            path.push(middle..to);
            to = middle;
        } else {
            path.push(from..middle);
            from = middle;
        }
    }
    if from > 0 {
        path.push(from..to);
    }
    path.reverse();
    Some(path)
}

/// Whether `path` leads from a leaf to the root. Source: RFC 9162, 2.1.3.2.
pub fn includes(root: &Hash, size: u64, index: u64, leaf: &Hash, path: &[Hash]) -> bool {
    if index >= size {
        return false;
    }
    let (mut node, mut last, mut hash) = (index, size - 1, *leaf);
    for sibling in path {
        if last == 0 {
            return false;
        }
        if node & 1 == 1 || node == last {
            hash = parent(sibling, &hash);
            // The right edge: as often as the node is the only child there.
            let up = node.trailing_zeros();
            (node, last) = (node >> up, last >> up);
        } else {
            hash = parent(&hash, sibling);
        }
        (node, last) = (node >> 1, last >> 1);
    }
    last == 0 && hash == *root
}

/// Whether `path` leads from the root of the smaller tree to that of the larger one. Source: RFC 9162, 2.1.4.2.
pub fn is_consistent(old: (u64, &Hash), new: (u64, &Hash), path: &[Hash]) -> bool {
    let ((old_size, old_root), (new_size, new_root)) = (old, new);
    if old_size == 0 || old_size > new_size {
        return false;
    }
    if old_size == new_size {
        return path.is_empty() && old_root == new_root;
    }
    // A perfect old tree is a subtree of the new one: its root is known and left out.
    let (first, rest) = match path.split_first() {
        _ if old_size.is_power_of_two() => (old_root, path),
        Some((first, rest)) => (first, rest),
        None => return false,
    };
    let up = (old_size - 1).trailing_ones();
    let (mut node, mut last) = ((old_size - 1) >> up, (new_size - 1) >> up);
    let (mut old_hash, mut new_hash) = (*first, *first);
    for sibling in rest {
        if last == 0 {
            return false;
        }
        if node & 1 == 1 || node == last {
            old_hash = parent(sibling, &old_hash);
            new_hash = parent(sibling, &new_hash);
            let up = node.trailing_zeros().min(u64::BITS - 1);
            (node, last) = (node >> up, last >> up);
        } else {
            new_hash = parent(&new_hash, sibling);
        }
        (node, last) = (node >> 1, last >> 1);
    }
    last == 0 && old_hash == *old_root && new_hash == *new_root
}

#[cfg(test)]
mod tests;
