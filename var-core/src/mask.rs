//! Attention masks. In a mask, `true` means hidden.

use std::ops::Range;

use burn::tensor::{Bool, Device, Tensor, TensorData};
use nextscale_tokenizer::ScaleSchedule;

/// What is visible under teacher forcing: a token attends to its own scale and all earlier ones.
#[derive(Debug, Clone)]
pub struct BlockCausal {
    mask: Tensor<4, Bool>,
    /// Where the scales end, from 0 on; empty if what a scale sees is not all that comes before its end.
    ends: Vec<usize>,
}

impl BlockCausal {
    /// Among the tokens of a schedule.
    pub fn new(schedule: &ScaleSchedule, device: &Device) -> Self {
        let scales = schedule.scales().iter().map(|scale| scale.tokens());
        Self::of_groups(scales, device)
    }

    /// Among `first` tokens, which see each other alone, and those of a schedule, which see them too.
    pub fn after(first: usize, schedule: &ScaleSchedule, device: &Device) -> Self {
        let scales = schedule.scales().iter().map(|scale| scale.tokens());
        Self::of_groups(std::iter::once(first).chain(scales), device)
    }

    fn of_groups(sizes: impl Iterator<Item = usize>, device: &Device) -> Self {
        let mut ends = vec![0];
        let mut level = Vec::new();
        for (group, size) in sizes.enumerate() {
            level.extend(std::iter::repeat_n(group, size));
            ends.push(level.len());
        }
        let hidden = level
            .iter()
            .flat_map(|query| level.iter().map(move |key| key > query));
        Self {
            ends,
            ..Self::from_hidden(hidden.collect(), level.len(), device)
        }
    }

    /// Of `n` queries and any keys: `hidden`, row by row, says which key a query does not see.
    ///
    /// # Panics
    /// If the rows do not add up.
    pub fn from_hidden(hidden: Vec<bool>, n: usize, device: &Device) -> Self {
        let keys = hidden.len() / n;
        Self {
            mask: Tensor::from_data(TensorData::new(hidden, [1, 1, n, keys]), device),
            ends: Vec::new(),
        }
    }

    /// The mask, `[1, 1, queries, keys]`.
    pub fn mask(&self) -> &Tensor<4, Bool> {
        &self.mask
    }

    /// The tokens of each scale, if they attend to all tokens before their end.
    pub fn scales(&self) -> Option<impl Iterator<Item = Range<usize>>> {
        let ends = self.ends.windows(2).map(|ends| ends[0]..ends[1]);
        (!self.ends.is_empty()).then_some(ends)
    }
}

/// The scale index of every token of a schedule.
pub fn levels(schedule: &ScaleSchedule) -> Vec<usize> {
    let scales = schedule.scales().iter().enumerate();
    scales
        .flat_map(|(k, scale)| std::iter::repeat_n(k, scale.tokens()))
        .collect()
}

/// Hides the padding after the end of each of `b` rows, `[b, 1, 1, width]`; `None` if all rows are full.
///
/// # Panics
/// If a row is longer than `width`, or empty, which would leave nothing to attend to.
pub fn padding(lens: &[usize], width: usize, device: &Device) -> Option<Tensor<4, Bool>> {
    for &len in lens {
        assert!(
            len > 0 && len <= width,
            "a row of {len} in a batch of width {width}"
        );
    }
    if lens.iter().all(|&len| len == width) {
        return None;
    }
    let hidden: Vec<bool> = lens
        .iter()
        .flat_map(|&len| (0..width).map(move |i| i >= len))
        .collect();
    Some(Tensor::from_data(
        TensorData::new(hidden, [lens.len(), 1, 1, width]),
        device,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_see_themselves_and_the_past() {
        let schedule = ScaleSchedule::square(&[1, 2]).unwrap();
        let causal = BlockCausal::new(&schedule, &Device::flex());
        let hidden: Vec<bool> = causal.mask().to_data().iter::<bool>().collect();
        assert_eq!(hidden[..5], [false, true, true, true, true]);
        assert!(hidden[5..].iter().all(|h| !h));
        assert_eq!(causal.scales().unwrap().collect::<Vec<_>>(), [0..1, 1..5]);
    }

    #[test]
    fn what_comes_first_is_seen_and_sees_itself() {
        let schedule = ScaleSchedule::square(&[1]).unwrap();
        let causal = BlockCausal::after(2, &schedule, &Device::flex());
        let hidden: Vec<bool> = causal.mask().to_data().iter::<bool>().collect();
        let expected = [false, false, true, false, false, true, false, false, false];
        assert_eq!(hidden, expected);
        assert_eq!(causal.scales().unwrap().collect::<Vec<_>>(), [0..2, 2..3]);
        let other = BlockCausal::from_hidden(vec![true, false], 1, &Device::flex());
        assert!(other.scales().is_none());
        assert_eq!(other.mask().dims(), [1, 1, 1, 2]);
    }

    #[test]
    fn full_rows_need_no_mask() {
        assert!(padding(&[3, 3], 3, &Device::flex()).is_none());
        let mask = padding(&[1, 3], 3, &Device::flex()).unwrap();
        let hidden: Vec<bool> = mask.into_data().iter::<bool>().collect();
        assert_eq!(hidden, [false, true, true, false, false, false]);
    }
}
