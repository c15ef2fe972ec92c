//! What a transformer's run takes over from elsewhere and keeps in its own folder: the tokenizer and
//! the vocabulary. A run can so be resumed and exported when the tokenizer's run is gone.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, bail};
use burn::tensor::Device;
use nextscale_bitwise::vae::import::FileDType;
use nextscale_bitwise::vae::{BsqVae, BsqVaeConfig};
use nextscale_text::Vocab;
use nextscale_tokenizer::ScaleSchedule;
use nextscale_var_core::train::latest;

use super::config;
use super::tokenizer::TokenizerRun;
use super::transformer::{TransformerRun, learn_vocabulary};
use crate::data::IconSet;

/// The tokenizer's configuration in the transformer's run.
pub const CONFIG: &str = "tokenizer.yaml";
/// Its weights.
pub const WEIGHTS: &str = "vae.safetensors";
/// The vocabulary.
pub const VOCABULARY: &str = "tokenizer.json";

/// The tokenizer of the run `out`, taken over from the run `from` the first time, its schedule
/// and its sizes.
pub fn adopt(
    out: &Path,
    from: &Path,
    device: &Device,
) -> anyhow::Result<(BsqVae, ScaleSchedule, BsqVaeConfig)> {
    let (copy, weights) = (out.join(CONFIG), out.join(WEIGHTS));
    if !weights.is_file() {
        let Some(checkpoint) = latest(from)? else {
            bail!(
                "tokenizer: there is no checkpoint in `{}`; `nextscale train tokenizer` makes one",
                from.display()
            );
        };
        let config = from.join(super::CONFIG);
        let run: TokenizerRun = config::read(&config)?;
        fs::copy(&config, &copy).with_context(|| format!("cannot write `{}`", copy.display()))?;
        let vae: BsqVae = checkpoint.average(run.model.init(device))?;
        vae.save(&weights, FileDType::F32)?;
    }
    let run: TokenizerRun = config::read(&copy)?;
    let vae = run.model.init(device).load(&weights)?;
    Ok((vae, run.schedule()?, run.model))
}

/// The vocabulary of the run `out`: that of the run that it continues, or learned from the captions the first time.
pub fn vocabulary(out: &Path, run: &TransformerRun, set: &IconSet) -> anyhow::Result<Vocab> {
    let path = out.join(VOCABULARY);
    if path.is_file() {
    } else if let Some(from) = &run.continues {
        let from = from.join(VOCABULARY);
        fs::copy(&from, &path)
            .with_context(|| format!("continues: cannot copy `{}`", from.display()))?;
    } else {
        eprintln!("learning the vocabulary from the captions");
        learn_vocabulary(set, run.seed, run.text.vocabulary)?.save(&path)?;
    }
    Ok(Vocab::from_file(&path)?.with_max_len(run.text.max_len))
}
