//! `nextscale train export`: the averaged weights of a run as a model folder.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, bail, ensure};
use burn::module::Param;
use burn::tensor::{Device, Tensor};
use nextscale_bitwise::import::save_infinity;
use nextscale_bitwise::vae::{BsqVae, BsqVaeConfig, Decoder};
use nextscale_text::Vocab;
use nextscale_var_core::train::{Checkpoint, latest};
use nextscale_var_core::var::save_var;
use nextscale_video::InfinityStarVae;
use nextscale_video::infinity_star::save_infinity_star;

use crate::config::{self, CONFIG};
use crate::run_folder;
use crate::tokenizer::bsq::TokenizerRun;
use crate::tokenizer::causal::CausalRun;
use crate::transformer::TransformerKind;
use crate::transformer::infinity::{Painter, TransformerRun};
use crate::transformer::infinity_star::{Narrator, StarRun};
use crate::transformer::var::ClassRun;
use nextscale_data::Motion;
use nextscale_models::manifest::{
    Checksums, FrameCounts, InfinityManifest, InfinityStarManifest, Manifest, VarManifest,
};
use nextscale_models::prompt::PromptRules;
use nextscale_models::{Model, Size};
use nextscale_models::{TEXT, TRANSFORMER, VAE, VOCAB};
use nextscale_weights::WeightDtype;

/// Writes the last checkpoint of the transformer's run `from` as a model folder: weights in 16 bits
/// under the official names, and the manifest that binds them.
///
/// With `decoder_of`, the decoder comes from that run, which has trained it for the codes of the same encoder.
///
/// # Errors
/// When a run has no checkpoint, the decoder was trained for another encoder, or the folder can't be written.
pub fn export(from: &Path, out: &Path, decoder_of: Option<&Path>) -> anyhow::Result<()> {
    let config = from.join(CONFIG);
    let Some(checkpoint) = latest(from)? else {
        bail!("there is no checkpoint in `{}`", from.display());
    };
    match config::kind(&config)? {
        TransformerKind::Infinity => export_text(from, &checkpoint, out, decoder_of)?,
        TransformerKind::Var => {
            ensure!(
                decoder_of.is_none(),
                "--decoder-of is for models of prompts: tokenizers with a codebook have no `encoder_of`"
            );
            export_classes(from, &checkpoint, out)?;
        }
        TransformerKind::Star => export_video(from, &checkpoint, out, decoder_of)?,
    }
    eprintln!(
        "wrote the model of step {} to `{}`",
        checkpoint.progress()?.step,
        out.display()
    );
    Ok(())
}

fn export_text(
    from: &Path,
    checkpoint: &Checkpoint,
    out: &Path,
    decoder_of: Option<&Path>,
) -> anyhow::Result<()> {
    let run: TransformerRun = config::read(&from.join(CONFIG))?;
    let device = Device::flex();
    let (mut vae, cells, mut vae_config) = run_folder::adopt(from, &run.tokenizer, &device)?;
    if let Some(folder) = decoder_of {
        (vae.decoder, vae_config) = decoder(folder, &vae)?;
    }
    let vocab = Vocab::from_file(from.join(run_folder::VOCABULARY))?;
    let (text, transformer) = (run.text_config(vocab.size()), run.model_config(vae.bits));
    let painter = checkpoint.average(Painter {
        text: text.init(&device),
        transformer: transformer.init(&device),
    })?;

    fs::create_dir_all(out).with_context(|| format!("cannot make `{}`", out.display()))?;
    vocab.save(out.join(VOCAB))?;
    nextscale_text::import::save(&painter.text, out.join(TEXT), WeightDtype::F16)?;
    let file = out.join(TRANSFORMER);
    save_infinity(&transformer, &painter.transformer, &file, WeightDtype::F16)?;
    vae.save(out.join(VAE), WeightDtype::F16)?;
    let size = Size {
        width: cells.last().w * vae.stride,
        height: cells.last().h * vae.stride,
        scales: run.scales.iter().map(|&(h, w)| [h, w]).collect(),
        reference: None,
        known: None,
    };
    let manifest = InfinityManifest {
        name: run.name,
        about: run.about,
        text,
        transformer,
        vae: vae_config,
        patching: run.patching,
        sizes: vec![size],
        sampling: run.sampling,
        prompt: PromptRules {
            lowercase: true,
            ..PromptRules::default()
        },
        fingerprints: Checksums::new(),
    };
    Model::seal(out, Manifest::Infinity(manifest))?;
    Ok(())
}

fn export_classes(from: &Path, checkpoint: &Checkpoint, out: &Path) -> anyhow::Result<()> {
    let run: ClassRun = config::read(&from.join(CONFIG))?;
    let device = Device::flex();
    let (vae, schedule, sizes) = run_folder::adopt_vq(from, &run.tokenizer, &device)?;
    let classes = run_folder::classes(from)?;
    let transformer = run.model_config(&sizes, &schedule, classes.len());
    let model = checkpoint.average(transformer.init(&device))?;

    fs::create_dir_all(out).with_context(|| format!("cannot make `{}`", out.display()))?;
    save_var(
        &transformer,
        &model,
        &out.join(TRANSFORMER),
        WeightDtype::F16,
    )?;
    vae.save(out.join(VAE), WeightDtype::F16)?;
    let manifest = VarManifest {
        name: run.name,
        about: run.about,
        transformer,
        vae: sizes,
        sampling: run.sampling,
        classes,
        fingerprints: Checksums::new(),
    };
    Model::seal(out, Manifest::Var(manifest))?;
    Ok(())
}

fn export_video(
    from: &Path,
    checkpoint: &Checkpoint,
    out: &Path,
    decoder_of: Option<&Path>,
) -> anyhow::Result<()> {
    let run: StarRun = config::read(&from.join(CONFIG))?;
    let device = Device::flex();
    let (mut vae, tokenizer) = run_folder::adopt_causal(from, &run.tokenizer, &device)?;
    if let Some(folder) = decoder_of {
        vae = with_decoder(folder, vae)?;
    }
    let vocab = Vocab::from_file(from.join(run_folder::VOCABULARY))?;
    let (text, transformer) = (
        run.text_config(vocab.size()),
        run.model_config(tokenizer.bits()),
    );
    let narrator = checkpoint.average(Narrator {
        text: text.init(&device),
        transformer: transformer.init(&device),
    })?;

    fs::create_dir_all(out).with_context(|| format!("cannot make `{}`", out.display()))?;
    vocab.save(out.join(VOCAB))?;
    nextscale_text::import::save(&narrator.text, out.join(TEXT), WeightDtype::F16)?;
    let file = out.join(TRANSFORMER);
    save_infinity_star(&transformer, &narrator.transformer, &file, WeightDtype::F16)?;
    vae.save(out.join(VAE), WeightDtype::F16)?;
    let last = tokenizer.plan(1)?.reference();
    let size = Size {
        width: last.w * vae.stride,
        height: last.h * vae.stride,
        scales: tokenizer.scales.iter().map(|&(h, w)| [h, w]).collect(),
        reference: None,
        known: None,
    };
    let mut first_frame = run.first_frame;
    if let Some(first) = &mut first_frame {
        let phrases = Motion::ALL.iter().flat_map(|motion| motion.phrases());
        first.motions = phrases.map(|&phrase| phrase.to_owned()).collect();
    }
    let frames = run.clips.frames;
    let manifest = InfinityStarManifest {
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
        prompt: PromptRules {
            lowercase: true,
            ..PromptRules::default()
        },
        duration_tag: false,
        soft_start: false,
        semantic_scale: None,
        first_frame,
        fingerprints: Checksums::new(),
    };
    Model::seal(out, Manifest::InfinityStar(manifest))?;
    Ok(())
}

/// The auto-encoder with the decoder of a run that continued it with a frozen encoder.
fn with_decoder(folder: &Path, vae: InfinityStarVae) -> anyhow::Result<InfinityStarVae> {
    let run: CausalRun = config::read(&folder.join(CONFIG))?;
    let Some(checkpoint) = latest(folder)? else {
        bail!("there is no checkpoint in `{}`", folder.display());
    };
    let trained: InfinityStarVae = checkpoint.average(run.model.init(&Device::flex()))?;
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

/// Whether two runs have the same frozen weight. Its average drifts by rounding, so equal means nearly equal.
fn is_same<const D: usize>(ours: &Param<Tensor<D>>, theirs: &Param<Tensor<D>>) -> bool {
    let (ours, theirs) = (ours.val(), theirs.val());
    ours.dims() == theirs.dims() && (ours - theirs).abs().max().into_scalar::<f32>() < 1e-4
}

/// The decoder of a run that was trained for the codes of `vae`, and that run's sizes.
fn decoder(folder: &Path, vae: &BsqVae) -> anyhow::Result<(Decoder, BsqVaeConfig)> {
    let name = folder.display();
    let run: TokenizerRun = config::read(&folder.join(CONFIG))?;
    let Some(checkpoint) = latest(folder)? else {
        bail!("there is no checkpoint in `{name}`");
    };
    let trained: BsqVae = checkpoint.average(run.model.init(&Device::flex()))?;
    let same = is_same(
        &vae.encoder.conv_out.weight,
        &trained.encoder.conv_out.weight,
    );
    if !same {
        bail!(
            "the decoder of `{name}` was trained for another encoder; give its configuration `encoder_of`"
        );
    }
    Ok((trained.decoder, run.model))
}
