use super::*;

fn leaf(number: u64) -> Hash {
    let mut hash = [0; 32];
    hash[..8].copy_from_slice(&number.to_be_bytes());
    hash
}

fn id(position: u64) -> Uuid {
    Uuid::from_u128(u128::from(position))
}

fn sealed(position: u64, hash: Hash) -> Sealed {
    Sealed { position, event_id: id(position), hash, found: Some(Ok(hash)) }
}

/// The root over the first leaves, and those of the last ten.
fn signed(size: u64) -> (Hash, Vec<Hash>) {
    let mut edge = Frontier::default();
    (1..=size).for_each(|number| edge.push(leaf(number), |_, _| ()));
    (edge.root(), (size - 9..=size).map(leaf).collect())
}

/// Walks over these with a checkpoint every ten positions; the copies may be left out.
fn walk(log: impl IntoIterator<Item = Sealed>, copies: bool) -> Vec<(Fault, Option<u64>, Option<u64>)> {
    let mut walker = Walker::new(Frontier::default());
    for event in log {
        walker.step(event);
        let size = walker.position();
        if size.is_multiple_of(10) && size > 0 {
            let (root, leaves) = signed(size);
            let leaves: &[Hash] = if copies { &leaves } else { &[] };
            walker.compare(&Mark { size, root, source: Source::Log, leaves });
        }
    }
    walker.findings.listed.iter().map(|found| (found.fault, found.position, found.last_position)).collect()
}

#[test]
fn a_whole_log_has_nothing_to_find_with_or_without_copies() {
    for copies in [true, false] {
        assert_eq!(walk((1..=35).map(|at| sealed(at, leaf(at))), copies), []);
    }
}

#[test]
fn an_event_that_differs_from_its_seal_is_named_and_nothing_else() {
    let log =
        (1..=30).map(|at| Sealed { found: Some(Ok(leaf(if at == 7 { 99 } else { at }))), ..sealed(at, leaf(at)) });
    assert_eq!(walk(log, true), [(Fault::Changed, Some(7), None)]);
    let gone =
        (1..=30).map(|at| Sealed { found: if at == 7 { None } else { Some(Ok(leaf(at))) }, ..sealed(at, leaf(at)) });
    assert_eq!(walk(gone, true), [(Fault::Deleted, Some(7), None)]);
}

#[test]
fn a_seal_that_was_made_anew_is_named_by_the_signed_copy_or_lies_between_two_checkpoints() {
    let log = || (1..=30).map(|at| sealed(at, leaf(if at == 17 { 99 } else { at })));
    assert_eq!(walk(log(), true), [(Fault::Forged, Some(17), None)]);
    assert_eq!(walk(log(), false), [(Fault::Diverged, Some(11), Some(20))]);
}

#[test]
fn a_hole_is_named_and_swapped_events_are_both() {
    let log = (1..=30).filter(|at| *at != 17).map(|at| sealed(at, leaf(at)));
    assert_eq!(walk(log, true), [(Fault::Missing, Some(17), Some(17))]);
    let swapped = (1..=30).map(|at| {
        sealed(
            at,
            leaf(if at == 3 {
                4
            } else if at == 4 {
                3
            } else {
                at
            }),
        )
    });
    assert_eq!(walk(swapped, true), [(Fault::Forged, Some(3), None), (Fault::Forged, Some(4), None)]);
    let huge = [sealed(1, leaf(1)), sealed(u64::MAX - 1, leaf(2)), sealed(2, leaf(2))];
    assert_eq!(walk(huge, true), [(Fault::Missing, Some(2), Some(u64::MAX - 2))]);
    assert_eq!(walk([sealed(1, leaf(1)), sealed(1, leaf(1))], true), [(Fault::Misplaced, Some(1), None)]);
}

#[test]
fn a_log_that_contradicts_a_checkpoint_from_outside_is_found_though_its_own_agree() {
    let mut walker = Walker::new(Frontier::default());
    for at in 1..=20 {
        walker.step(sealed(at, leaf(at)));
        if at == 10 || at == 20 {
            let (root, leaves) = signed(at);
            walker.compare(&Mark { size: at, root, source: Source::Log, leaves: &leaves });
            let root = if at == 10 { root } else { leaf(99) };
            walker.compare(&Mark { size: at, root, source: Source::Outside, leaves: &[] });
        }
    }
    assert_eq!(walker.findings.listed.len(), 1);
    let found = &walker.findings.listed[0];
    assert_eq!((found.fault, found.position, found.last_position), (Fault::Diverged, Some(11), Some(20)));
    assert_eq!(walker.end().map(|edge| edge.root()), Some(signed(20).0));
}

#[test]
fn findings_are_listed_up_to_a_bound_and_then_counted() {
    let log = (1..=150).map(|at| Sealed { found: None, ..sealed(at, leaf(at)) });
    assert_eq!(walk(log, true).len(), LISTED_MAX);
}
