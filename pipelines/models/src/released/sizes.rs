//! The sizes of the released Infinity models.

use nextscale_tokenizer::ScaleSchedule;
use nextscale_tokenizer::schedule::infinity::{PixelBudget, RatioTemplate, TEMPLATES};

use crate::size::Size;

/// How often the sides of the trained sizes are doubled: about 4 and 16 million pixels.
const OCTAVES: u32 = 2;

/// All sizes: every aspect ratio at every pixel budget, `first` before all others and the square before all ratios; then
/// those larger than any that the models were trained for.
pub(super) fn sizes(first: PixelBudget) -> Vec<Size> {
    let others = PixelBudget::ALL.into_iter().rev().filter(|b| *b != first);
    let budgets = std::iter::once(first).chain(others);
    // Positions are those on the grid of one million pixels, whatever the size.
    let size = |template: &RatioTemplate, width, height, schedule: &ScaleSchedule| {
        let largest = template.schedule(PixelBudget::M1).last();
        Size {
            reference: Some([largest.h, largest.w]),
            ..Size::new(width, height, schedule)
        }
    };
    let trained = |budget: PixelBudget| {
        TEMPLATES.iter().map(move |template| {
            let (height, width) = template.pixels(budget);
            size(template, width, height, &template.schedule(budget))
        })
    };
    let larger = (1..=OCTAVES).flat_map(|octaves| {
        TEMPLATES.iter().map(move |template| {
            let (height, width) = template.pixels(PixelBudget::M1);
            let (height, width) = (height << octaves, width << octaves);
            Size {
                known: Some(template.schedule(PixelBudget::M1).len()),
                ..size(template, width, height, &template.extended(octaves))
            }
        })
    });
    budgets.flat_map(trained).chain(larger).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_ratio_at_every_budget() {
        let sizes = sizes(PixelBudget::M1);
        assert_eq!(sizes.len(), 90);
        assert_eq!((sizes[0].width, sizes[0].height), (1024, 1024));
        let mut seen: Vec<_> = sizes.iter().map(|s| (s.width, s.height)).collect();
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), 90, "no size twice");
        let square = |side| sizes.iter().find(|s| (s.width, s.height) == (side, side));
        assert_eq!(square(256).unwrap().scales.len(), 7);
        assert_eq!(square(256).unwrap().reference, Some([64, 64]));
        let large = square(4096).unwrap();
        assert_eq!((large.scales.len(), large.known), (19, Some(13)));
        assert_eq!(large.reference, Some([64, 64]));
    }
}
