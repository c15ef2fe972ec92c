//! An InfinityStar run as a model folder.

use std::path::Path;

use burn::tensor::Device;
use nextscale_data::Motion;
use nextscale_models::manifest::{Checksums, FrameCounts, InfinityStarManifest, Manifest};
use nextscale_models::{Model, Size, TRANSFORMER, VAE};
use nextscale_text::{T5Config, Vocab};
use nextscale_var_core::train::Checkpoint;
use nextscale_video::infinity_star::save_infinity_star;
use nextscale_video::{InfinityStarConfig, InfinityStarVae};
use nextscale_weights::WeightDtype;

use crate::config;
use crate::error::{Result, ensure};
use crate::run_folder::{CONFIG, VOCABULARY};
use crate::tokenizer::causal::CausalRun;
use crate::tokenizer::import::{import_tokenizer, is_same, trained_tokenizer};
use crate::transformer::infinity_star::config::{InfinityStarRun, TextToVideoModel};
use crate::transformer::text::{exported_size, prompt_rules, save_text};

/// Writes a checkpoint of the run `from` as the model folder `out`, with the decoder of the run `decoder_of` if given.
pub(crate) fn export(
    from: &Path,
    checkpoint: &Checkpoint,
    out: &Path,
    decoder_of: Option<&Path>,
) -> Result<()> {
    let run: InfinityStarRun = config::read(&from.join(CONFIG))?;
    let device = Device::flex();
    let (mut vae, tokenizer) = import_tokenizer::<CausalRun>(from, &run.tokenizer, &device)?;
    if let Some(folder) = decoder_of {
        vae = with_decoder(folder, vae)?;
    }
    let vocab = Vocab::from_file(from.join(VOCABULARY))?;
    let text = run.text.config(vocab.size());
    let transformer = run.model_config(tokenizer.bits());
    let model = checkpoint.average(TextToVideoModel {
        text: text.init(&device),
        transformer: transformer.init(&device),
    })?;

    save_text(from, out, &vocab, &model.text)?;
    let file = out.join(TRANSFORMER);
    save_infinity_star(&transformer, &model.transformer, &file, WeightDtype::F16)?;
    vae.save(out.join(VAE), WeightDtype::F16)?;
    let last = tokenizer.plan(1)?.reference();
    let size = exported_size(last, vae.stride, &tokenizer.scales);
    let manifest = manifest(run, tokenizer, size, text, transformer);
    Model::seal(out, Manifest::InfinityStar(manifest))?;
    Ok(())
}

fn manifest(
    run: InfinityStarRun,
    tokenizer: CausalRun,
    size: Size,
    text: T5Config,
    transformer: InfinityStarConfig,
) -> InfinityStarManifest {
    let mut first_frame = run.first_frame;
    if let Some(first) = &mut first_frame {
        let phrases = Motion::ALL.iter().flat_map(|motion| motion.phrases());
        first.motions = phrases.map(|&phrase| phrase.to_owned()).collect();
    }
    let frames = run.clips.frames;
    InfinityStarManifest {
        name: run.name,
        about: run.about,
        text,
        transformer,
        vae: tokenizer.model,
        layout: tokenizer.layout,
        sizes: vec![size],
        fps: run.fps,
        frames: FrameCounts {
            default: frames,
            longest: frames,
            step: frames.saturating_sub(1).max(1),
        },
        guidance: run.guidance,
        image_temperature: run.temperature,
        clip_temperature: run.temperature,
        prompt: prompt_rules(),
        duration_tag: false,
        soft_start: false,
        semantic_scale: None,
        first_frame,
        fingerprints: Checksums::new(),
    }
}

/// The auto-encoder with the decoder of a run that continued it with a frozen encoder.
fn with_decoder(folder: &Path, vae: InfinityStarVae) -> Result<InfinityStarVae> {
    let (trained, run) = trained_tokenizer::<CausalRun>(folder)?;
    let same = is_same(
        &vae.encoder.conv_out.weight,
        &trained.encoder.conv_out.weight,
    );
    ensure!(
        same && run.decoder_only,
        "the decoder of `{}` was trained for another encoder; give its configuration `continues` and `decoder_only`",
        folder.display()
    );
    Ok(InfinityStarVae {
        decoder: trained.decoder,
        proj_up: trained.proj_up,
        ..vae
    })
}
