//! How a tokenizer uses its codes: the entropy of each bit, the perplexity of a codebook.

use nextscale_tokenizer::usage::{count, perplexity};
use nextscale_tokenizer::{Codes, Scale, ScaleSchedule};
use serde::Serialize;

/// How the codes of one scale are used.
#[derive(Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum ScaleReport {
    /// Of a tokenizer with binary codes.
    Bits {
        /// Rows of the scale.
        height: usize,
        /// Columns of the scale.
        width: usize,
        /// Mean entropy of a bit over all cells and images: 1 for a fair coin, 0 for a constant.
        entropy: f64,
        /// Bits that are almost constant: 1 in less than 1 % or more than 99 % of the cells.
        constant: usize,
        /// Bits of a code.
        bits: usize,
    },
    /// Of a tokenizer with a codebook.
    Codes {
        /// Rows of the scale.
        height: usize,
        /// Columns of the scale.
        width: usize,
        /// Codes that occur.
        used: usize,
        /// The number of equally frequent codes with the same entropy.
        perplexity: f64,
        /// Codes in the codebook.
        codes: usize,
    },
}

/// Counts of each scale.
pub(crate) enum Usage {
    /// Ones of each bit, and number of cells.
    Bits {
        ones: Vec<Vec<f64>>,
        cells: Vec<f64>,
    },
    /// Cells of each code.
    Codes(Vec<Vec<u64>>),
}

impl Usage {
    /// Zero counts of codes of `bits` bits.
    pub fn bits(scales: usize, bits: usize) -> Self {
        Self::Bits {
            ones: vec![vec![0.0; bits]; scales],
            cells: vec![0.0; scales],
        }
    }

    /// Zero counts of a codebook of `codes` codes.
    pub fn codes(scales: usize, codes: usize) -> Self {
        Self::Codes(vec![vec![0; codes]; scales])
    }

    /// Counts the codes of every scale.
    pub fn add(&mut self, codes: &[Codes]) {
        match self {
            Self::Bits { ones, cells } => {
                for ((ones, cells), codes) in ones.iter_mut().zip(cells).zip(codes) {
                    add_bits(ones, cells, codes);
                }
            }
            Self::Codes(sums) => {
                let vocabulary = sums.first().map_or(0, Vec::len);
                for (sums, counts) in sums.iter_mut().zip(count(codes, vocabulary)) {
                    let all = sums.iter_mut().zip(counts);
                    all.for_each(|(sum, count)| *sum += u64::from(count));
                }
            }
        }
    }

    /// The figures of each scale.
    pub fn report(&self, schedule: &ScaleSchedule) -> Vec<ScaleReport> {
        let scales = schedule.scales().iter().enumerate();
        scales
            .map(|(k, scale)| self.scale_report(k, scale))
            .collect()
    }

    /// Number of codes that occur on any scale, and of all codes; `None` for bits.
    pub fn used(&self) -> Option<(usize, usize)> {
        let Self::Codes(counts) = self else {
            return None;
        };
        let codes = counts.first().map_or(0, Vec::len);
        let occurs = |code: &usize| counts.iter().any(|counts| counts[*code] > 0);
        Some(((0..codes).filter(occurs).count(), codes))
    }

    fn scale_report(&self, k: usize, &Scale { h, w, .. }: &Scale) -> ScaleReport {
        match self {
            Self::Bits { ones, cells } => {
                let share: Vec<f64> = ones[k].iter().map(|n| n / cells[k].max(1.0)).collect();
                ScaleReport::Bits {
                    height: h,
                    width: w,
                    entropy: share.iter().map(|p| entropy(*p)).sum::<f64>() / share.len() as f64,
                    constant: share.iter().filter(|p| !(0.01..=0.99).contains(*p)).count(),
                    bits: share.len(),
                }
            }
            Self::Codes(counts) => ScaleReport::Codes {
                height: h,
                width: w,
                used: counts[k].iter().filter(|count| **count > 0).count(),
                perplexity: perplexity(counts[k].iter().map(|&count| count as f64)),
                codes: counts[k].len(),
            },
        }
    }
}

fn add_bits(ones: &mut [f64], cells: &mut f64, codes: &Codes) {
    let Codes::Bits(bits) = codes else { return };
    let [b, _, t, h, w] = bits.dims();
    let cells_of_bit = bits.clone().float().swap_dims(0, 1).flatten::<2>(1, 4); // [d, b t h w]
    let sums = cells_of_bit.sum_dim(1).into_data().convert::<f32>();
    for (sum, ones) in ones.iter_mut().zip(sums.iter::<f32>()) {
        *sum += f64::from(ones);
    }
    *cells += (b * t * h * w) as f64;
}

/// Entropy in bits of a coin that lands on 1 with probability `p`.
fn entropy(p: f64) -> f64 {
    let term = |p: f64| if p > 0.0 { -p * p.log2() } else { 0.0 };
    term(p) + term(1.0 - p)
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::{Device, Int, Tensor, TensorData};

    #[test]
    fn use_of_the_bits() {
        // Bit 0 is always 1, bit 1 is 1 in one cell of two.
        let bits = TensorData::new(vec![1, 1, 1, 0], [1, 2, 1, 1, 2]);
        let codes = Codes::Bits(Tensor::from_data(bits, &Device::flex()));
        let schedule = ScaleSchedule::new(vec![Scale::image(1, 2)]).unwrap();
        let mut usage = Usage::bits(1, 2);
        usage.add(std::slice::from_ref(&codes));
        usage.add(&[codes]);
        let ScaleReport::Bits {
            entropy, constant, ..
        } = usage.report(&schedule)[0]
        else {
            panic!("bits");
        };
        assert_eq!(constant, 1);
        assert!((entropy - 0.5).abs() < 1e-9);
        assert_eq!(usage.used(), None);
    }

    #[test]
    fn use_of_the_codes() {
        let device = Device::flex();
        let scale = |row| Codes::Indices(Tensor::<4, Int>::from_ints([[[row]]], &device));
        let schedule = ScaleSchedule::new(vec![Scale::image(1, 2); 2]).unwrap();
        let mut usage = Usage::codes(2, 5);
        usage.add(&[scale([0, 0]), scale([0, 3])]);
        let report = usage.report(&schedule);
        let of = |report: &ScaleReport| match report {
            ScaleReport::Codes {
                used, perplexity, ..
            } => (*used, perplexity.round()),
            ScaleReport::Bits { .. } => panic!("codes"),
        };
        assert_eq!((of(&report[0]), of(&report[1])), ((1, 1.0), (2, 2.0)));
        assert_eq!(usage.used(), Some((2, 5)));
    }
}
