//! Which icons are held out from training, and which answer a plain name.

use std::collections::{BTreeMap, BTreeSet};

use nextscale_files::checksum;

use crate::entry::Entry;
use crate::recipe::HeldOut;

/// Marks the pairs with the smallest hashes of name and style, at most one per concept.
pub(super) fn mark_held_out(entries: &mut [Entry], held_out: &HeldOut) {
    let mut styles: BTreeMap<String, usize> = BTreeMap::new();
    for entry in entries.iter() {
        *styles.entry(entry.name.clone()).or_default() += 1;
    }
    let hash =
        |e: &Entry| checksum::of_bytes(format!("held out\n{}\n{}", e.name, e.style).as_bytes());
    let mut order: Vec<(String, usize)> = entries
        .iter()
        .filter(|e| styles[&e.name] >= held_out.min_styles)
        .map(|e| (hash(e), e.id))
        .collect();
    order.sort();
    let mut names = BTreeSet::new();
    for (_, id) in order {
        if names.len() == held_out.pairs {
            break;
        }
        if names.insert(entries[id].name.clone()) {
            entries[id].held_out = true;
        }
    }
}

/// Marks one icon of each concept as the answer to its plain name: the first style that training sees.
pub(super) fn mark_plain(entries: &mut [Entry]) {
    let mut names = BTreeSet::new();
    for entry in entries.iter_mut().filter(|e| !e.held_out) {
        entry.plain = names.insert(entry.name.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HELD_OUT: HeldOut = HeldOut {
        pairs: 20,
        min_styles: 3,
    };

    fn entries(concepts: usize, styles: &[&str]) -> Vec<Entry> {
        let mut list = Vec::new();
        for style in styles {
            for c in 0..concepts {
                list.push(Entry {
                    id: list.len(),
                    name: format!("thing {c}"),
                    style: (*style).into(),
                    ..Entry::default()
                });
            }
        }
        list
    }

    #[test]
    fn held_out_pairs_are_stable_and_leave_a_plain_answer() {
        let mut list = entries(50, &["3d", "noto", "flat"]);
        list.push(Entry {
            id: list.len(),
            name: "lonely".into(),
            style: "3d".into(),
            ..Entry::default()
        });
        mark_held_out(&mut list, &HELD_OUT);
        mark_plain(&mut list);
        let held: BTreeSet<_> = list
            .iter()
            .filter(|e| e.held_out)
            .map(|e| e.name.clone())
            .collect();
        assert_eq!(held.len(), 20);
        assert!(!held.contains("lonely"));
        assert_eq!(list.iter().filter(|e| e.plain).count(), 51);
        assert!(list.iter().all(|e| !(e.plain && e.held_out)));

        // An icon that joins later with another name does not move the others.
        let mut without = entries(50, &["3d", "noto", "flat"]);
        mark_held_out(&mut without, &HELD_OUT);
        assert!(
            without
                .iter()
                .zip(&list)
                .all(|(a, b)| a.held_out == b.held_out)
        );
    }
}
