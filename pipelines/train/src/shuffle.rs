//! Random order and random numbers as functions of the seed and a position in the run.

use rand::SeedableRng as _;
use rand::seq::SliceRandom as _;
use rand_chacha::ChaCha8Rng;

/// An endless sequence of the given items, reshuffled in every epoch. The item at a position depends only on the seed and
/// the position.
pub(crate) struct Shuffle {
    seed: u64,
    items: Vec<usize>,
    epoch: Option<u64>,
    shuffled: Vec<usize>,
}

impl Shuffle {
    /// The sequence of `items`, of which there must be at least one.
    pub(crate) fn new(seed: u64, items: Vec<usize>) -> Self {
        assert!(!items.is_empty(), "a shuffle needs at least one item");
        Self {
            seed,
            shuffled: items.clone(),
            items,
            epoch: None,
        }
    }

    /// The item at a position of the run.
    fn at(&mut self, position: u64) -> usize {
        let n = self.items.len() as u64;
        let epoch = position / n;
        if self.epoch != Some(epoch) {
            self.shuffled.copy_from_slice(&self.items);
            self.shuffled.shuffle(&mut rng_for(self.seed, epoch));
            self.epoch = Some(epoch);
        }
        self.shuffled[(position % n) as usize]
    }

    /// The items of the batch `number` of `count` items.
    pub(crate) fn batch(&mut self, number: u64, count: usize) -> Vec<usize> {
        let first = number * count as u64;
        (first..first + count as u64)
            .map(|position| self.at(position))
            .collect()
    }
}

/// The random generator that belongs to one number of a sequence, such as a step.
pub(crate) fn rng_for(seed: u64, number: u64) -> ChaCha8Rng {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(number);
    rng
}

/// An endless sequence of batches, each of items of one bucket, reshuffled in every epoch. The batch at a position depends only on the
/// seed and the position.
#[derive(Clone, Debug)]
pub(crate) struct BucketShuffle {
    seed: u64,
    buckets: Vec<Vec<usize>>,
    size: usize,
    epoch: Option<u64>,
    batches: Vec<(usize, Vec<usize>)>,
}

impl BucketShuffle {
    /// Batches of `size` items of the same bucket; at least one bucket must have an item.
    pub(crate) fn new(seed: u64, buckets: Vec<Vec<usize>>, size: usize) -> Self {
        assert!(
            size > 0 && buckets.iter().any(|items| !items.is_empty()),
            "a shuffle needs at least one item"
        );
        Self {
            seed,
            buckets,
            size,
            epoch: None,
            batches: Vec::new(),
        }
    }

    /// Batches of an epoch: each item is in one of them, and the last batch of a bucket is filled with items that come again.
    pub(crate) fn per_epoch(&self) -> u64 {
        let batches = self
            .buckets
            .iter()
            .map(|items| items.len().div_ceil(self.size));
        batches.sum::<usize>() as u64
    }

    /// The bucket and the items of the batch at a position of the run.
    pub(crate) fn batch(&mut self, position: u64) -> (usize, Vec<usize>) {
        let n = self.per_epoch();
        let epoch = position / n;
        if self.epoch != Some(epoch) {
            self.batches = self.of_epoch(epoch);
            self.epoch = Some(epoch);
        }
        self.batches[(position % n) as usize].clone()
    }

    fn of_epoch(&self, epoch: u64) -> Vec<(usize, Vec<usize>)> {
        let mut rng = rng_for(self.seed, epoch);
        let mut batches = Vec::new();
        for (bucket, items) in self.buckets.iter().enumerate() {
            let mut items = items.clone();
            items.shuffle(&mut rng);
            let count = items.len().div_ceil(self.size) * self.size;
            let all: Vec<usize> = items.iter().copied().cycle().take(count).collect();
            batches.extend(all.chunks(self.size).map(|ids| (bucket, ids.to_vec())));
        }
        batches.shuffle(&mut rng);
        batches
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_epoch_shows_everything_once_in_a_new_order() {
        let mut shuffle = Shuffle::new(3, (10..60).collect());
        let mut epoch = |n: u64| shuffle.batch(n, 50);
        let (first, second, again) = (epoch(0), epoch(1), epoch(0));
        assert_ne!(first, second);
        assert_eq!(first, again);
        for mut shown in [first, second] {
            shown.sort_unstable();
            assert_eq!(shown, (10..60).collect::<Vec<_>>());
        }
    }

    #[test]
    fn batches_are_of_one_bucket_and_an_epoch_has_every_item() {
        let buckets = vec![vec![0, 1, 2, 3, 4], vec![], vec![10, 11]];
        let mut shuffle = BucketShuffle::new(1, buckets.clone(), 2);
        assert_eq!(shuffle.per_epoch(), 4);
        let first: Vec<_> = (0..4).map(|at| shuffle.batch(at)).collect();
        let mut seen: Vec<usize> = first.iter().flat_map(|(_, ids)| ids.clone()).collect();
        for (bucket, ids) in &first {
            assert!(ids.len() == 2 && ids.iter().all(|id| buckets[*bucket].contains(id)));
        }
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen, [0, 1, 2, 3, 4, 10, 11]);
        assert_ne!(
            first,
            (4..8).map(|at| shuffle.batch(at)).collect::<Vec<_>>()
        );
        let mut again = BucketShuffle::new(1, buckets, 2);
        assert_eq!(again.batch(2), first[2]);
    }
}
