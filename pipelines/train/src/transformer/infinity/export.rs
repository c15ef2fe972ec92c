//! An Infinity run as a model folder.

use std::path::Path;

use burn::tensor::Device;
use nextscale_bitwise::import::save_infinity;
use nextscale_bitwise::vae::{BsqVae, BsqVaeConfig};
use nextscale_models::manifest::{Checksums, InfinityManifest, Manifest};
use nextscale_models::{Model, TRANSFORMER, VAE};
use nextscale_text::Vocab;
use nextscale_var_core::train::Checkpoint;
use nextscale_weights::WeightDtype;

use crate::config;
use crate::error::{Result, ensure};
use crate::run_folder::{CONFIG, VOCABULARY};
use crate::tokenizer::bsq::BsqRun;
use crate::tokenizer::import::{is_same, trained_tokenizer};
use crate::transformer::infinity::config::{InfinityRun, TextToImageModel};
use crate::transformer::infinity::parts::Tokenizer;
use crate::transformer::text::{exported_size, prompt_rules, save_text};

/// Writes a checkpoint of the run `from` as the model folder `out`, with the decoder of the run `decoder_of` if given.
pub(crate) fn export(
    from: &Path,
    checkpoint: &Checkpoint,
    out: &Path,
    decoder_of: Option<&Path>,
) -> Result<()> {
    let run: InfinityRun = config::read(&from.join(CONFIG))?;
    let device = Device::flex();
    let Tokenizer {
        mut vae,
        mut config,
        cells,
    } = run.open_tokenizer(from, &device)?;
    if let Some(folder) = decoder_of {
        (vae, config) = with_decoder(folder, vae)?;
    }
    let vocab = Vocab::from_file(from.join(VOCABULARY))?;
    let (text, transformer) = (run.text.config(vocab.size()), run.model_config(vae.bits));
    let model = checkpoint.average(TextToImageModel {
        text: text.init(&device),
        transformer: transformer.init(&device),
    })?;

    save_text(from, out, &vocab, &model.text)?;
    let file = out.join(TRANSFORMER);
    save_infinity(&transformer, &model.transformer, &file, WeightDtype::F16)?;
    vae.save(out.join(VAE), WeightDtype::F16)?;
    let manifest = InfinityManifest {
        name: run.name,
        about: run.about,
        text,
        transformer,
        vae: config,
        patching: run.patching,
        sizes: vec![exported_size(cells.last(), vae.stride, &run.scales)],
        sampling: run.sampling,
        edits_by_instruction: run.edits,
        prompt: prompt_rules(),
        fingerprints: Checksums::new(),
    };
    Model::seal(out, Manifest::Infinity(manifest))?;
    Ok(())
}

/// The auto-encoder with the decoder of a run that was trained for the codes of its encoder, and its sizes.
fn with_decoder(folder: &Path, vae: BsqVae) -> Result<(BsqVae, BsqVaeConfig)> {
    let (trained, run) = trained_tokenizer::<BsqRun>(folder)?;
    ensure!(
        is_same(
            &vae.encoder.conv_out.weight,
            &trained.encoder.conv_out.weight
        ),
        "the decoder of `{}` was trained for another encoder; give its configuration `encoder_of`",
        folder.display()
    );
    let decoder = trained.decoder;
    Ok((BsqVae { decoder, ..vae }, run.model))
}
