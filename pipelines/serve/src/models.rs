//! The models of a server, as its pages and clients see them.

use nextscale_models::search::SearchPath;
use nextscale_models::{Architecture, Manifest, Model, ModelError};
use serde::Serialize;
use utoipa::ToSchema;

/// A model that may be asked for.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub(crate) struct ModelInfo {
    pub name: String,
    pub makes: Makes,
    pub from: Source,
    /// How it edits images; null if it does not.
    pub edits: Option<Edits>,
    /// Whether it takes prompt after prompt, each of which goes on with the same video.
    pub story: bool,
    /// The sizes that it makes, in pixels; the first is the default.
    pub sizes: Vec<Pixels>,
    /// Width of the default size.
    pub width: usize,
    /// Height of the default size.
    pub height: usize,
    /// Scales at the default size.
    pub scales: usize,
    /// The names of its classes, by number.
    pub classes: Option<Vec<String>>,
    /// The length of its videos.
    pub seconds: Option<Seconds>,
}

/// What a model makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Makes {
    /// Images.
    Image,
    /// Videos.
    Video,
}

/// What a model makes it from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Source {
    /// A prompt.
    Prompt,
    /// A class.
    Class,
}

/// How a model edits images.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Edits {
    /// It paints a part anew.
    Part,
    /// It does what the prompt says.
    Instruction,
}

/// A size in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct Pixels {
    pub width: usize,
    pub height: usize,
}

/// The length of videos in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, ToSchema)]
pub(crate) struct Seconds {
    /// Unless asked otherwise.
    pub default: f64,
    pub most: f64,
    /// Lengths differ by multiples of this.
    pub step: f64,
}

impl ModelInfo {
    /// Opens a model; reads no weight.
    pub fn open(name: &str, search_path: &SearchPath) -> Result<Self, ModelError> {
        let model = Model::open_in(name, search_path)?;
        let manifest = model.manifest();
        let sizes = manifest.sizes();
        let first = model.default_size()?;
        let (classes, seconds, story) = match manifest {
            Manifest::Var(var) => {
                let names = var.class_names();
                let all = (0..names.count()).map(|class| names.label(class));
                (Some(all.collect()), None, false)
            }
            Manifest::InfinityStar(star) => {
                let frames = star.frames;
                let seconds = Seconds {
                    default: star.seconds(frames.default),
                    most: star.seconds(frames.longest),
                    step: frames.step as f64 / star.fps as f64,
                };
                (None, Some(seconds), star.tells_stories())
            }
            Manifest::Infinity(_) => (None, None, false),
        };
        let makes = match model.architecture() {
            Architecture::InfinityStar => Makes::Video,
            _ => Makes::Image,
        };
        let edits = match makes {
            Makes::Video => None,
            Makes::Image if model.edits_by_instruction() => Some(Edits::Instruction),
            Makes::Image => Some(Edits::Part),
        };
        let from = match classes {
            Some(_) => Source::Class,
            None => Source::Prompt,
        };
        let pixels = |size: &nextscale_models::Size| Pixels {
            width: size.width,
            height: size.height,
        };
        Ok(Self {
            name: name.to_owned(),
            makes,
            from,
            edits,
            story,
            sizes: sizes.iter().map(pixels).collect(),
            width: first.width,
            height: first.height,
            scales: first.scales.len(),
            classes,
            seconds,
        })
    }

    /// The size of the model that is nearest to one that another program asks for: first in shape, then in pixels.
    pub fn nearest(&self, width: usize, height: usize) -> Pixels {
        let shape = |w: usize, h: usize| (w as f64 / h.max(1) as f64).ln();
        let area = |w: usize, h: usize| ((w * h).max(1) as f64).ln();
        let (wanted, pixels) = (shape(width, height), area(width, height));
        let distance = |size: &Pixels| {
            let of_shape = (shape(size.width, size.height) - wanted).abs();
            let of_area = (area(size.width, size.height) - pixels).abs();
            ((of_shape * 100.0).round(), of_area)
        };
        let by_distance = |a: &&Pixels, b: &&Pixels| {
            distance(a)
                .partial_cmp(&distance(b))
                .unwrap_or(std::cmp::Ordering::Equal)
        };
        let own = Pixels {
            width: self.width,
            height: self.height,
        };
        self.sizes
            .iter()
            .min_by(by_distance)
            .copied()
            .unwrap_or(own)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_embedded_models() {
        let open = |name| ModelInfo::open(name, &SearchPath::default()).unwrap();
        let default = open(nextscale_models::DEFAULT);
        assert_eq!(
            (default.makes, default.from),
            (Makes::Image, Source::Prompt)
        );
        assert_eq!(default.edits, Some(Edits::Part));
        assert!(default.scales > 3 && !default.sizes.is_empty());
        let square = default.nearest(512, 512);
        assert_eq!(square.width, square.height);
        assert_eq!(
            open(nextscale_models::EDITS).edits,
            Some(Edits::Instruction)
        );
        let sprites = open(nextscale_models::SPRITES);
        assert_eq!((sprites.makes, sprites.edits), (Makes::Video, None));
        assert!(sprites.seconds.is_some_and(|seconds| seconds.default > 0.0));
    }
}
