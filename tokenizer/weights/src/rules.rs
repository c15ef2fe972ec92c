//! Tables that say which of our parameters the tensors of a released checkpoint hold.

use std::collections::BTreeMap;

/// One tensor of a checkpoint and the parameters that it holds.
#[derive(Debug, Clone, Copy)]
pub struct Rule {
    /// Its name in the file.
    pub official: &'static str,
    /// Our parameters, stacked along the first axis in the file; empty for a buffer of zeros.
    pub ours: &'static [&'static str],
}

/// A [`Rule`].
pub const fn rule(official: &'static str, ours: &'static [&'static str]) -> Rule {
    Rule { official, ours }
}

/// Names and shapes of the tensors under `official` that hold our parameters under `ours`, whose `shapes` are given.
/// Buffers of zeros have `width` elements.
pub fn official_keys(
    rules: &[Rule],
    official: &str,
    ours: &str,
    shapes: &BTreeMap<String, Vec<usize>>,
    width: usize,
) -> Vec<(String, Vec<usize>)> {
    let key = |rule: &Rule| {
        let mut parts = rule
            .ours
            .iter()
            .filter_map(|name| shapes.get(&format!("{ours}{name}")));
        let shape = match parts.next() {
            None => vec![width],
            Some(first) => {
                let mut shape = first.clone();
                shape[0] += parts.map(|part| part[0]).sum::<usize>();
                shape
            }
        };
        (format!("{official}{}", rule.official), shape)
    };
    rules.iter().map(key).collect()
}

/// [`official_keys`] of `depth` blocks, named by [`block_name`] in the file and `blocks.0.`, `blocks.1.`, .. here.
pub fn official_block_keys(
    rules: &[Rule],
    depth: usize,
    chunks: usize,
    shapes: &BTreeMap<String, Vec<usize>>,
    width: usize,
) -> Vec<(String, Vec<usize>)> {
    let keys = |i| {
        let official = block_name(i, depth, chunks);
        official_keys(rules, &official, &format!("blocks.{i}."), shapes, width)
    };
    (0..depth).flat_map(keys).collect()
}

/// The prefix of block `i` of `depth` in a checkpoint of `chunks` chunks, with the dot at its end.
pub fn block_name(i: usize, depth: usize, chunks: usize) -> String {
    if chunks == 1 {
        return format!("blocks.{i}.");
    }
    let size = (depth / chunks).max(1); // a damaged file may have more chunks than blocks
    format!("block_chunks.{}.module.{}.", i / size, i % size)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_named_by_chunk() {
        assert_eq!(block_name(5, 8, 4), "block_chunks.2.module.1.");
        assert_eq!(block_name(5, 8, 1), "blocks.5.");
    }
}
