//! A look at everything before a data set is built.

use std::collections::{BTreeMap, HashSet};

use image::RgbImage;

use crate::entry::Entry;
use crate::error::DataError;
use crate::manifest::Skipped;
use crate::own::build::{check_used, classes_of};
use crate::own::labels::describe;
use crate::own::pass::{Pass, Passed};
use crate::own::recipe::OwnRecipe;
use crate::own::source::Source;
use crate::own::videos::ReadVideo;
use crate::progress::OnProgress;

/// How many images a report shows.
const SAMPLES: usize = 24;

/// What a data set would hold, and what is wrong with its files.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// Images or videos that were found.
    pub found: usize,
    /// Those that the data set would hold.
    pub usable: usize,
    /// Those without a caption, in a set with captions.
    pub without_caption: Vec<String>,
    /// Captions that belong to no image.
    pub captions_without_image: Vec<String>,
    /// Files, lines and archives that cannot be used.
    pub unreadable: Vec<Skipped>,
    /// Those that are smaller than their bucket and would be left out.
    pub too_small: Vec<Skipped>,
    /// Files with the same content, the one that is kept first.
    pub duplicates: Vec<Vec<String>>,
    /// Those that are smaller than their bucket and would be enlarged.
    pub upscaled: Vec<String>,
    /// Width and height of each bucket in pixels, and how many it would hold.
    pub buckets: Vec<([usize; 2], usize)>,
    /// The captions of those that are usable.
    pub captions: CaptionCounts,
    /// How many there are of each class; empty in a set with captions.
    pub classes: BTreeMap<String, usize>,
    /// How many training would never see.
    pub held_out: usize,
    /// Bytes of all images of the data set.
    pub bytes: u64,
    /// Sizes of the usable files in pixels.
    pub originals: ImageSizes,
    /// Some of the images as the data set would hold them, spread over it, each with its first caption.
    pub samples: Vec<(String, RgbImage)>,
}

/// What captions are like.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CaptionCounts {
    /// All of them; an image may have several.
    pub count: usize,
    /// Fewest words of one that is not empty.
    pub least_words: usize,
    /// Median of the words of those that are not empty.
    pub median_words: usize,
    /// Most words.
    pub most_words: usize,
    /// Empty ones.
    pub empty: usize,
    /// Different ones that are not empty.
    pub distinct: usize,
}

/// Widths and heights in pixels, ordered by the number of pixels.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ImageSizes {
    /// Of the image with the fewest pixels.
    pub smallest: [u32; 2],
    /// Of the one in the middle.
    pub median: [u32; 2],
    /// Of the one with the most.
    pub largest: [u32; 2],
}

/// Reads everything that a recipe names and says what the data set would hold. Nothing is written but the downloads that the
/// recipe asks for, into its cache. `sizes` and `videos` are as for [`build_own`](crate::build_own).
///
/// # Errors
/// Those of [`build_own`](crate::build_own), but for the ones of writing.
pub fn check_own(
    recipe: &OwnRecipe,
    sizes: &[[usize; 2]],
    videos: &dyn ReadVideo,
    progress: OnProgress<'_>,
) -> Result<Report, DataError> {
    let source = Source::find(recipe)?;
    source.fingerprint(recipe, sizes)?;
    let described = describe(recipe, source.samples(recipe, progress)?)?;
    let pass = Pass {
        recipe,
        sizes,
        videos,
        progress,
    };
    let total = described.samples.len();
    let mut samples = Vec::new();
    let mut seen = 0;
    let passed = pass.run(&described, &mut |entry, frames| {
        // The next one is due when its share of the set has been seen.
        if samples.len() < SAMPLES && seen * SAMPLES.min(total) >= samples.len() * total {
            let caption = entry.captions.first().cloned().unwrap_or_default();
            samples.push((caption, frames[0].clone()));
        }
        seen += 1;
        Ok(())
    })?;
    check_used(recipe, &passed)?;
    Ok(Report {
        classes: classes_of(described.labels, &passed.entries),
        found: described.found,
        without_caption: described.without_caption,
        captions_without_image: described.orphans,
        unreadable: [described.unreadable, passed.unreadable.clone()].concat(),
        samples,
        ..report(&pass, passed)
    })
}

/// What the pass alone tells.
fn report(pass: &Pass<'_>, passed: Passed) -> Report {
    let entries = &passed.entries;
    let mut buckets: Vec<_> = pass.sizes.iter().map(|&size| (size, 0)).collect();
    for entry in entries {
        buckets[entry.bucket].1 += 1;
    }
    let frames = pass.recipe.clip_frames();
    let bytes = |([w, h], count): &([usize; 2], usize)| (w * h * 3 * frames * count) as u64;
    let duplicates = passed.duplicates.into_iter().map(|(first, files)| {
        let first = std::iter::once(entries[first].file.clone());
        first.chain(files).collect()
    });
    Report {
        usable: entries.len(),
        too_small: passed.small,
        duplicates: duplicates.collect(),
        upscaled: passed.upscaled,
        bytes: buckets.iter().map(bytes).sum(),
        buckets,
        captions: count(entries),
        held_out: entries.iter().filter(|entry| entry.held_out).count(),
        originals: measure(passed.originals),
        ..Report::default()
    }
}

fn count(entries: &[Entry]) -> CaptionCounts {
    let all = entries.iter().flat_map(|entry| &entry.captions);
    let texts: Vec<&String> = all.clone().filter(|caption| !caption.is_empty()).collect();
    let words = |text: &&String| text.split(' ').count();
    let mut lengths: Vec<usize> = texts.iter().map(words).collect();
    lengths.sort_unstable();
    let at = |i: usize| lengths.get(i).copied().unwrap_or(0);
    CaptionCounts {
        count: all.clone().count(),
        least_words: at(0),
        median_words: at(lengths.len() / 2),
        most_words: at(lengths.len().saturating_sub(1)),
        empty: all.count() - texts.len(),
        distinct: texts.into_iter().collect::<HashSet<_>>().len(),
    }
}

fn measure(mut sizes: Vec<[u32; 2]>) -> ImageSizes {
    sizes.sort_by_key(|&[w, h]| (u64::from(w) * u64::from(h), w));
    let at = |i: usize| sizes.get(i).copied().unwrap_or_default();
    ImageSizes {
        smallest: at(0),
        median: at(sizes.len() / 2),
        largest: at(sizes.len().saturating_sub(1)),
    }
}
