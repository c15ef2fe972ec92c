//! `nextscale eval clip-score`: how well images fit their prompts.

use std::path::{Path, PathBuf};

use nextscale_metrics::clip::{self, Clip, Tokens, scores};
use nextscale_metrics::features::Rows;
use nextscale_models::device::{DeviceChoice, Dtype};
use serde::Serialize;

use crate::error::EvalError;
use crate::measure::{Measured, OnProgress, open};
use crate::scores::set::{Batch, ImageSet};

/// What to measure.
#[derive(Debug, Clone)]
pub struct ClipOptions {
    /// The images.
    pub images: ImageSet,
    /// The prompt of each image of a folder, in the order of the names; if there are none, `NAME.txt` beside each image is read.
    pub prompts: Vec<String>,
    /// File of CLIP in OpenAI's layout.
    pub weights: Option<PathBuf>,
    /// File or folder of CLIP's vocabulary.
    pub vocabulary: Option<PathBuf>,
    /// Images per batch, at least 1.
    pub batch: usize,
    /// Where to compute.
    pub device: DeviceChoice,
}

/// What was measured.
#[derive(Debug, Serialize)]
pub struct ClipReport {
    /// Which CLIP.
    pub features: String,
    /// The images.
    pub images: String,
    /// How many.
    pub count: usize,
    /// The mean of 100 times the cosine, at least 0, as `torchmetrics` reports it.
    pub clip_score: f64,
    /// The mean of 2.5 times the cosine, each at least 0, as the paper on CLIPScore (arXiv 2104.08718) defines it.
    pub clip_score_of_paper: f64,
    /// Prompts that were cut because CLIP reads 77 tokens.
    pub cut_prompts: usize,
}

/// The score of all images.
///
/// # Errors
/// If images, prompts or weights cannot be read, or do not fit together.
pub fn clip_score(
    options: &ClipOptions,
    progress: OnProgress<'_>,
) -> Result<Measured<ClipReport>, EvalError> {
    let needed = |file: &Option<PathBuf>, option, hint| {
        let missing = EvalError::NoWeights { option, hint };
        file.clone().ok_or(missing)
    };
    let weights = needed(&options.weights, "--weights", clip::WEIGHTS)?;
    let vocabulary = needed(&options.vocabulary, "--vocabulary", clip::VOCABULARY)?;
    let device = open(options.device, Dtype::F32, false)?.device;
    let (clip, tokens) = (Clip::open(&weights, &device)?, Tokens::open(&vocabulary)?);
    let (mut all, mut cut_prompts) = (Vec::new(), 0);
    options
        .images
        .for_each(options.batch, progress, &mut |batch| {
            let prompts = options.prompts_of(&batch, all.len())?;
            let (texts, cut) = texts(&clip, &tokens, &prompts)?;
            all.extend(scores(&clip.images(&batch.images)?, &texts)?);
            cut_prompts += cut;
            Ok(())
        })?;
    let (given, count) = (options.prompts.len(), all.len());
    if given > count {
        return Err(EvalError::PromptCount { given, count });
    }
    let mean = |values: &mut dyn Iterator<Item = f64>| values.sum::<f64>() / count.max(1) as f64;
    Ok(Measured::plain(ClipReport {
        features: clip.name(),
        images: options.images.name(),
        count,
        clip_score: mean(&mut all.iter().copied()).max(0.0),
        clip_score_of_paper: mean(&mut all.iter().map(|score| 0.025 * score.max(0.0))),
        cut_prompts,
    }))
}

fn texts(clip: &Clip, tokens: &Tokens, prompts: &[String]) -> Result<(Rows, usize), EvalError> {
    Ok(clip.texts(tokens, prompts)?)
}

impl ClipOptions {
    /// The prompts of a batch before which `done` images came.
    fn prompts_of(&self, batch: &Batch<'_>, done: usize) -> Result<Vec<String>, EvalError> {
        let count = batch.images.len();
        if !batch.prompts.is_empty() {
            return Ok(batch.prompts.to_vec());
        }
        if self.prompts.is_empty() {
            if batch.files.is_empty() {
                return Err(EvalError::NoPrompt);
            }
            return batch.files.iter().map(|file| caption(file)).collect();
        }
        let given = self.prompts.len();
        let prompts = self.prompts.get(done..done + count);
        let short = EvalError::PromptCount {
            given,
            count: done + count,
        };
        Ok(prompts.ok_or(short)?.to_vec())
    }
}

/// The text beside an image.
fn caption(image: &Path) -> Result<String, EvalError> {
    let path = image.with_extension("txt");
    let text = std::fs::read_to_string(&path);
    let text = text.map_err(|reason| EvalError::NoCaption {
        path: path.clone(),
        reason,
    })?;
    Ok(text.trim().to_owned())
}
