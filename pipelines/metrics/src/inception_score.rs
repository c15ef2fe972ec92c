//! The Inception Score (arXiv 1606.03498), as `torch-fidelity` computes it: exp of the mean divergence of each image's classes from those
//! of all, over ten parts of the images, which are shuffled first.

use rand_mt::Mt;

use crate::error::{MetricsError, Result};
use crate::features::Rows;

/// Parts that the score is computed on.
pub const SPLITS: usize = 10;
/// The seed with which `torch-fidelity` shuffles the images.
const SEED: u32 = 2020;

/// The score of some images.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Score {
    /// Mean over the parts; 1 at least, the number of classes at most.
    pub mean: f64,
    /// Standard deviation over the parts (divisor n).
    pub deviation: f64,
}

/// The score of the logits of all images.
///
/// # Errors
/// If there are fewer images than parts.
pub fn of(logits: &Rows) -> Result<Score> {
    let count = logits.len();
    if count < SPLITS {
        return Err(MetricsError::TooFew {
            what: "the set".to_owned(),
            found: count,
            figure: "an Inception Score",
            needed: SPLITS,
            reason: "it is the mean over ten parts of the images",
        });
    }
    let order = permutation(count);
    let rows: Vec<&[f32]> = logits.iter().collect();
    let bounds = |part: usize| part * count / SPLITS..(part + 1) * count / SPLITS;
    let one = |part: usize| of_part(order[bounds(part)].iter().map(|&i| rows[i]));
    let scores: Vec<f64> = (0..SPLITS).map(one).collect();
    let mean = scores.iter().sum::<f64>() / SPLITS as f64;
    let squares = scores.iter().map(|score| (score - mean).powi(2));
    let deviation = (squares.sum::<f64>() / SPLITS as f64).sqrt();
    Ok(Score { mean, deviation })
}

/// The score of one part.
fn of_part<'a>(logits: impl Iterator<Item = &'a [f32]>) -> f64 {
    let logs: Vec<Vec<f64>> = logits.map(log_softmax).collect();
    let count = logs.len() as f64;
    let classes = logs.first().map_or(0, Vec::len);
    let mean = |class: usize| logs.iter().map(|row| row[class].exp()).sum::<f64>() / count;
    let log_means: Vec<f64> = (0..classes).map(|class| mean(class).ln()).collect();
    let divergence = |row: &Vec<f64>| -> f64 {
        let pairs = row.iter().zip(&log_means);
        pairs.map(|(log, mean)| log.exp() * (log - mean)).sum()
    };
    (logs.iter().map(divergence).sum::<f64>() / count).exp()
}

fn log_softmax(row: &[f32]) -> Vec<f64> {
    let most = row.iter().copied().map(f64::from).fold(f64::MIN, f64::max);
    let sum: f64 = row
        .iter()
        .map(|&value| (f64::from(value) - most).exp())
        .sum();
    let shift = most + sum.ln();
    row.iter().map(|&value| f64::from(value) - shift).collect()
}

/// `numpy.random.RandomState(2020).permutation(count)`.
fn permutation(count: usize) -> Vec<usize> {
    let mut random = Mt::new(SEED);
    let mut order: Vec<usize> = (0..count).collect();
    for last in (1..count).rev() {
        let mask = u32::MAX >> (last as u32).leading_zeros();
        let drawn = loop {
            let drawn = (random.next_u32() & mask) as usize;
            if drawn <= last {
                break drawn;
            }
        };
        order.swap(last, drawn);
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_is_that_of_numpy() {
        assert_eq!(permutation(12), ORDER);
    }

    /// `numpy.random.RandomState(2020).permutation(12)`
    const ORDER: [usize; 12] = [2, 1, 11, 4, 10, 5, 7, 9, 6, 3, 8, 0];

    #[test]
    fn known_scores() {
        let row = |class: usize| (0..4).map(move |i| if i == class { 40.0 } else { 0.0 });
        let rows = |class: fn(usize) -> usize| Rows {
            dims: 4,
            values: (0..4000).flat_map(|i| row(class(i))).collect(),
        };
        let sure = of(&rows(|i| i % 4)).unwrap();
        assert!((sure.mean - 4.0).abs() < 0.05, "{sure:?}"); // all classes, each sure
        let same = of(&rows(|_| 1)).unwrap();
        assert!(
            (same.mean - 1.0).abs() < 1e-9 && same.deviation < 1e-9,
            "{same:?}"
        );
        let message = of(&Rows {
            dims: 4,
            values: vec![0.0; 36],
        })
        .unwrap_err()
        .to_string();
        assert!(
            message.contains("9 images") && message.contains("10"),
            "{message}"
        );
    }
}
