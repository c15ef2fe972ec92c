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
}
