use super::*;
use crate::audit::note::hex;

/// Leaves and roots that other implementations of the RFC test themselves by: certificate-transparency-go and its kin.
const LEAVES: [&str; 8] =
    ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"];
const ROOTS: [&str; 8] = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
];

/// Sizes up to which everything is compared with the definition: past five levels nothing new happens.
const SIZES: u64 = 70;

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

fn leaf(data: &[u8]) -> Hash {
    sha256(&[&[0], data])
}

fn leaves(count: u64) -> Vec<Hash> {
    (0..count).map(|number| leaf(&number.to_be_bytes())).collect()
}

/// The definition of RFC 9162, 2.1.1, word for word.
fn defined(leaves: &[Hash]) -> Hash {
    match leaves {
        [] => sha256(&[]),
        [leaf] => *leaf,
        leaves => {
            let mut k = 1;
            while k * 2 < leaves.len() {
                k *= 2;
            }
            parent(&defined(&leaves[..k]), &defined(&leaves[k..]))
        }
    }
}

fn range(of: &Range<u64>) -> Range<usize> {
    usize::try_from(of.start).unwrap()..usize::try_from(of.end).unwrap()
}

fn hashes(all: &[Hash], path: &[Range<u64>]) -> Vec<Hash> {
    path.iter().map(|subtree| defined(&all[range(subtree)])).collect()
}

#[test]
fn the_roots_are_those_that_other_implementations_publish() {
    let mut frontier = Frontier::default();
    assert_eq!(hex(&frontier.root()), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    for (data, root) in LEAVES.iter().zip(ROOTS) {
        frontier.push(leaf(&bytes(data)), |_, _| ());
        assert_eq!(hex(&frontier.root()), root);
    }
}

#[test]
fn a_growing_tree_has_the_defined_root_at_every_size_and_tells_each_perfect_subtree_once() {
    let (all, mut frontier, mut made) = (leaves(SIZES), Frontier::default(), Vec::new());
    for size in 1..=SIZES {
        frontier.push(all[range(&(size - 1..size)).start], |node, hash| made.push((node, hash)));
        assert_eq!(frontier.root(), defined(&all[range(&(0..size))]), "{size}");
        let edge = cover(0..size).iter().map(|node| defined(&all[range(&leaves_of(*node))])).collect();
        assert_eq!(Frontier::of(size, edge), Some(frontier.clone()));
    }
    for (node, hash) in &made {
        assert_eq!(*hash, defined(&all[range(&leaves_of(*node))]), "{node:?}");
    }
    let expected: u64 = (1..7).map(|height| SIZES >> height).sum();
    let distinct: std::collections::HashSet<_> = made.iter().map(|(node, _)| *node).collect();
    assert_eq!((made.len() as u64, distinct.len() as u64), (expected, expected));
}

fn leaves_of(node: Node) -> Range<u64> {
    node.index << node.height..(node.index + 1) << node.height
}

#[test]
fn what_stands_on_both_sides_of_a_range_leads_with_it_to_the_root() {
    let all = leaves(SIZES);
    for (from, to) in (0..SIZES).flat_map(|from| (from..=SIZES).map(move |to| (from, to))) {
        let hash = |node: &Node| defined(&all[range(&leaves_of(*node))]);
        let mut frontier = Frontier::of(from, cover(0..from).iter().map(hash).collect()).unwrap();
        all[range(&(from..to))].iter().for_each(|leaf| frontier.push(*leaf, |_, _| ()));
        for node in cover(to..SIZES) {
            frontier.push_subtree(node.height, hash(&node)).unwrap();
        }
        assert_eq!((frontier.size(), frontier.root()), (SIZES, defined(&all)), "{from}..{to}");
    }
}

#[test]
fn a_subtree_fits_only_where_one_of_its_height_begins() {
    let mut frontier = Frontier::default();
    frontier.push([1; 32], |_, _| ());
    assert!(frontier.push_subtree(1, [2; 32]).is_none() && frontier.push_subtree(64, [2; 32]).is_none());
    assert_eq!(frontier.size(), 1);
}

#[test]
fn every_inclusion_is_proven_and_no_other() {
    let all = leaves(SIZES);
    for size in 1..=SIZES {
        let root = defined(&all[range(&(0..size))]);
        for index in 0..size {
            let path = hashes(&all, &inclusion(index, size).unwrap());
            let leaf = all[range(&(0..index)).end];
            assert!(includes(&root, size, index, &leaf, &path), "{index} of {size}");
            assert!(!includes(&root, size, index ^ 1, &leaf, &path) || size == 1);
            assert!(!includes(&root, size, index, &[7; 32], &path));
            assert!(!includes(&[7; 32], size, index, &leaf, &path));
            let longer = [path.as_slice(), &[[7; 32]]].concat();
            assert!(!includes(&root, size, index, &leaf, &longer));
            if !path.is_empty() {
                assert!(!includes(&root, size, index, &leaf, &path[1..]));
            }
        }
        assert!(inclusion(size, size).is_none());
    }
}

#[test]
fn every_growth_is_proven_and_no_other() {
    let all = leaves(SIZES);
    for new in 1..=SIZES {
        let new_root = defined(&all[range(&(0..new))]);
        for old in 1..=new {
            let old_root = defined(&all[range(&(0..old))]);
            let path = hashes(&all, &consistency(old, new).unwrap());
            assert!(is_consistent((old, &old_root), (new, &new_root), &path), "{old} to {new}");
            assert!(!is_consistent((old, &[7; 32]), (new, &new_root), &path));
            assert!(!is_consistent((old, &old_root), (new, &[7; 32]), &path));
            let longer = [path.as_slice(), &[[7; 32]]].concat();
            assert!(!is_consistent((old, &old_root), (new, &new_root), &longer));
            for at in 0..path.len() {
                let mut other = path.clone();
                other[at] = [7; 32];
                assert!(!is_consistent((old, &old_root), (new, &new_root), &other), "{old} to {new} at {at}");
            }
        }
        assert!(consistency(0, new).is_none() && consistency(new + 1, new).is_none());
    }
}
