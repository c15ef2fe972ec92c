//! Images of every size: prompts, scales and decoder.

use std::iter::repeat_n;
use std::sync::Arc;

use burn::tensor::{Device, Distribution, Tensor};
use nextscale_models::generator::{
    Condition, ImageGenerator, ImageInput, ImagePlan, PromptEncoder,
};
use nextscale_models::{Manifest, Model, ModelError, Placement, pixels};

use super::prompts::prompt;
use super::work::Work;
use crate::error::EvalError;

pub(super) fn run(
    model: &Arc<Model>,
    placement: &Placement,
    work: &mut Work<'_>,
) -> Result<(), EvalError> {
    let random = work.options.random_weights;
    let (lengths, encoded) = match model.manifest() {
        Manifest::Infinity(manifest) => {
            let longest = manifest.transformer.text_max_len;
            let encoded = if random {
                vec![]
            } else {
                work.encoded_lengths(longest)
            };
            (work.lengths(longest), encoded)
        }
        _ => (vec![1], vec![]), // a class
    };
    let image: usize = work.sizes.iter().map(|size| size.scales.len() + 1).sum();
    work.begin(encoded.len() + lengths.len() * image);
    let conditions = conditions(model, placement, &lengths, &encoded, work)?;
    let generator = if random {
        ImageGenerator::random(model.manifest().clone(), placement)?
    } else {
        ImageGenerator::load_without_text(model, placement)?
    };
    for size in work.sizes {
        let plan = generator.plan(size.width, size.height)?;
        for condition in &conditions {
            generate(&generator, &plan, condition.clone(), work)?;
        }
    }
    Ok(())
}

/// A batch for each length. The text encoder is dropped before the transformer is loaded, as for large images.
fn conditions(
    model: &Arc<Model>,
    placement: &Placement,
    lengths: &[usize],
    encoded: &[usize],
    work: &mut Work<'_>,
) -> Result<Vec<Condition>, EvalError> {
    let (batch, device) = (work.options.batch, &placement.device);
    let features = match model.manifest() {
        Manifest::Infinity(_) if !work.options.random_weights => {
            let encoder = PromptEncoder::load(model, device)?;
            let features = encode(&encoder, lengths, encoded, work);
            encoder.unload();
            features?
        }
        Manifest::Infinity(manifest) => {
            let channels = manifest.transformer.text_channels;
            let features = lengths
                .iter()
                .map(|&tokens| noise(tokens, channels, device));
            features.collect()
        }
        _ => return Ok(vec![Condition::Classes(vec![0; batch])]),
    };
    let none = || EvalError::from(ModelError::refused("there is no prompt"));
    let condition = |features: &Tensor<3>| {
        Condition::of_prompts(repeat_n(features, batch), [].iter()).ok_or_else(none)
    };
    features.iter().map(condition).collect()
}

/// Encodes a prompt of each length of `encoded`, and returns the features of those that are `lengths`.
fn encode(
    encoder: &PromptEncoder,
    lengths: &[usize],
    encoded: &[usize],
    work: &mut Work<'_>,
) -> Result<Vec<Tensor<3>>, EvalError> {
    let mut kept = vec![];
    for tokens in encoded {
        let features = encoder.encode(&prompt(*tokens), 1)?.features;
        if lengths.contains(tokens) {
            kept.push(features);
        }
        work.advance();
    }
    Ok(kept)
}

/// Features `[1, tokens, channels]` in the place of a text encoder's.
fn noise(tokens: usize, channels: usize, device: &Device) -> Tensor<3> {
    Tensor::random(
        [1, tokens, channels],
        Distribution::Normal(0.0, 0.2),
        device,
    )
}

/// Generates one batch.
fn generate(
    generator: &ImageGenerator,
    plan: &ImagePlan,
    condition: Condition,
    work: &mut Work<'_>,
) -> Result<(), EvalError> {
    let sampling = generator.model().sampling()?;
    let sampling = generator.sampling_plan(sampling, plan);
    let seeds = (0..condition.rows() as u64).collect();
    let input = ImageInput {
        source: generator.blank_source(plan),
        ..ImageInput::new(condition, seeds, sampling)
    };
    let mut latent = None;
    for features in generator.run(plan, input)? {
        let synced = generator.device().sync();
        synced.map_err(|e| EvalError::Device(format!("{e:?}")))?;
        latent = Some(features);
        work.advance();
    }
    let latent = latent.ok_or_else(|| ModelError::refused("the schedule has no scale"))?;
    pixels::to_images(generator.autoencoder().decode(latent, None))?;
    work.advance();
    Ok(())
}
