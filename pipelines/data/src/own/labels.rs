//! What describes the images of a set: captions or classes, and what becomes of those that have neither.

use std::path::Path;

use crate::error::DataError;
use crate::manifest::Skipped;
use crate::own::media::Media;
use crate::own::recipe::{Labels, MissingCaptions, OwnRecipe};
use crate::own::samples::{Sample, Samples};
use crate::own::text::counted;
use crate::recipe::DataKind;

/// Samples that all have what describes them.
#[derive(Debug)]
pub(crate) struct Described {
    pub labels: Labels,
    /// With at least one caption each; with a class in a set with classes, without one otherwise.
    pub samples: Vec<Sample>,
    /// How many images were found.
    pub found: usize,
    /// Images without a caption, in a set with captions.
    pub without_caption: Vec<String>,
    /// Captions without an image.
    pub orphans: Vec<String>,
    /// What was left out, except for images without a caption.
    pub unreadable: Vec<Skipped>,
}

/// Decides what describes the images.
///
/// # Errors
/// No image; no image with a caption or with a class; images without a caption if the recipe does not allow them.
pub(crate) fn describe(recipe: &OwnRecipe, found: Samples) -> Result<Described, DataError> {
    let place = recipe.from.join(", ");
    let fail = |message| DataError::content(Path::new(&place), message);
    if found.samples.is_empty() {
        return Err(fail(nothing(recipe, &found)));
    }
    let labels = choose(recipe, &found.samples).map_err(fail)?;
    let mut described = Described {
        labels,
        found: found.samples.len(),
        samples: Vec::new(),
        without_caption: Vec::new(),
        orphans: found.orphans,
        unreadable: found.unreadable,
    };
    for sample in found.samples {
        match labels {
            Labels::Captions => described.add_with_caption(sample, recipe.missing_captions),
            Labels::Classes => described.add_with_class(sample),
        }
    }
    if let Some(first) = described.without_caption.first()
        && recipe.missing_captions == MissingCaptions::Error
    {
        let count = described.without_caption.len();
        let all = counted(described.found, Media::of(recipe).noun());
        return Err(fail(format!(
            "{count} of {all} without a caption, the first is {first}: add captions, or say missing_captions: skip"
        )));
    }
    Ok(described)
}

impl Described {
    fn add_with_caption(&mut self, sample: Sample, missing: MissingCaptions) {
        let mut sample = Sample {
            class: None,
            ..sample
        };
        if sample.captions.is_empty() {
            self.without_caption.push(sample.file.clone());
            if missing != MissingCaptions::Empty {
                return;
            }
            sample.captions.push(String::new());
        }
        self.samples.push(sample);
    }

    fn add_with_class(&mut self, mut sample: Sample) {
        let Some(class) = &sample.class else {
            self.unreadable.push(Skipped {
                file: sample.file,
                reason: "it has no class".into(),
            });
            return;
        };
        if sample.captions.is_empty() {
            sample.captions.push(class.clone());
        }
        self.samples.push(sample);
    }
}

/// Why there is no image.
fn nothing(recipe: &OwnRecipe, found: &Samples) -> String {
    let media = Media::of(recipe);
    let (noun, extensions) = (media.noun(), media.extensions().join(", "));
    if let Some(Skipped { file, reason }) = found.unreadable.first() {
        let count = counted(found.unreadable.len(), "file");
        return format!(
            "there is no {noun}, and {count} cannot be used, the first is {file}: {reason}"
        );
    }
    if recipe.is_table() {
        return format!("it names no {noun}");
    }
    match found.orphans.len() {
        0 => format!("there is no {noun} ({extensions})"),
        count => {
            let captions = counted(count, "caption");
            format!("there is no {noun} ({extensions}), only {captions}")
        }
    }
}

fn choose(recipe: &OwnRecipe, samples: &[Sample]) -> Result<Labels, String> {
    let is_captioned = samples.iter().any(|sample| !sample.captions.is_empty());
    let is_classed = |sample: &Sample| sample.class.is_some();
    let without = recipe.missing_captions == MissingCaptions::Empty;
    match recipe.labels {
        Some(Labels::Captions) if !is_captioned && !without => Err(no_caption(recipe)),
        Some(Labels::Classes) if !samples.iter().any(is_classed) => Err(no_class(recipe)),
        Some(labels) => Ok(labels),
        None if is_captioned => Ok(Labels::Captions),
        None if samples.iter().all(is_classed) => Ok(Labels::Classes),
        None => Err(no_caption(recipe)),
    }
}

fn no_caption(recipe: &OwnRecipe) -> String {
    let media = Media::of(recipe);
    let (noun, example) = (media.noun(), media.example());
    if recipe.is_table() {
        return format!(
            "no {noun} has a caption: say with caption_column which column has them, or use labels: classes"
        );
    }
    if recipe.kind == DataKind::Webdataset {
        return format!(
            "no {noun} has a caption: put NAME.txt beside NAME.{example} into the archives, or use labels: classes"
        );
    }
    let root = Path::new(&recipe.from[0]);
    let mut tables = ["metadata.jsonl", "metadata.csv"].into_iter();
    if let Some(table) = tables.find(|name| root.join(name).is_file()) {
        let kind = table.rsplit('.').next().unwrap_or(table);
        let table = root.join(table);
        return format!(
            "no {noun} has a caption in a file of its own: use kind: {kind} with from: {}",
            table.display()
        );
    }
    format!("no {noun} has a caption: put NAME.txt beside NAME.{example}, or use labels: classes")
}

fn no_class(recipe: &OwnRecipe) -> String {
    let media = Media::of(recipe);
    let (noun, example) = (media.noun(), media.example());
    if recipe.is_table() {
        return format!("no {noun} has a class: say with class_column which column has them");
    }
    if recipe.kind == DataKind::Webdataset {
        return format!(
            "no {noun} has a class: put NAME.cls beside NAME.{example} into the archives"
        );
    }
    format!("no {noun} has a class: put the {noun}s into one folder per class")
}
