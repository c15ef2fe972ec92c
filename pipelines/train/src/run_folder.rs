//! What a transformer's run takes over from elsewhere and keeps in its own folder: the tokenizer and
//! the vocabulary. A run can so be resumed and exported when the tokenizer's run is gone.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, bail, ensure};
use burn::tensor::Device;
use nextscale_bitwise::vae::{BsqVae, BsqVaeConfig};
use nextscale_text::Vocab;
use nextscale_tokenizer::{ScaleSchedule, VqVae, VqVaeConfig};
use nextscale_var_core::train::{Checkpoint, latest};
use nextscale_video::InfinityStarVae;

use crate::config;
use crate::tokenizer::TokenizerKind;
use crate::tokenizer::bsq::TokenizerRun;
use crate::tokenizer::causal::CausalRun;
use crate::tokenizer::vq::VqRun;
use nextscale_data::Dataset;
use nextscale_weights::WeightDtype;

/// The tokenizer's configuration in the transformer's run.
pub const CONFIG: &str = "tokenizer.yaml";
/// Its weights.
pub const WEIGHTS: &str = "vae.safetensors";
/// The names of the classes.
const CLASSES: &str = "classes.json";
/// The vocabulary.
pub const VOCABULARY: &str = "tokenizer.json";

/// The tokenizer of the run `out`, taken over from the run `from` the first time, its schedule
/// and its sizes.
pub fn adopt(
    out: &Path,
    from: &Path,
    device: &Device,
) -> anyhow::Result<(BsqVae, ScaleSchedule, BsqVaeConfig)> {
    if let Some(checkpoint) = take_over(out, from, TokenizerKind::Bsq)? {
        let run: TokenizerRun = config::read(&out.join(CONFIG))?;
        let vae: BsqVae = checkpoint.average(run.model.init(device))?;
        vae.save(out.join(WEIGHTS), WeightDtype::F32)?;
    }
    let run: TokenizerRun = config::read(&out.join(CONFIG))?;
    let vae = run.model.init(device).load(out.join(WEIGHTS))?;
    Ok((vae, run.schedule()?, run.model))
}

/// As [`adopt`], of a tokenizer with a codebook.
pub fn adopt_vq(
    out: &Path,
    from: &Path,
    device: &Device,
) -> anyhow::Result<(VqVae, ScaleSchedule, VqVaeConfig)> {
    if let Some(checkpoint) = take_over(out, from, TokenizerKind::Vq)? {
        let run: VqRun = config::read(&out.join(CONFIG))?;
        let vae: VqVae = checkpoint.average(run.model.init(device))?;
        vae.save(out.join(WEIGHTS), WeightDtype::F32)?;
    }
    let run: VqRun = config::read(&out.join(CONFIG))?;
    let vae = run.model.init(device).load(out.join(WEIGHTS))?;
    Ok((vae, run.schedule()?, run.model))
}

/// As [`adopt`], of a tokenizer of clips, and its whole configuration.
pub fn adopt_causal(
    out: &Path,
    from: &Path,
    device: &Device,
) -> anyhow::Result<(InfinityStarVae, CausalRun)> {
    if let Some(checkpoint) = take_over(out, from, TokenizerKind::Causal)? {
        let run: CausalRun = config::read(&out.join(CONFIG))?;
        let vae: InfinityStarVae = checkpoint.average(run.model.init(device))?;
        vae.save(out.join(WEIGHTS), WeightDtype::F32)?;
    }
    let run: CausalRun = config::read(&out.join(CONFIG))?;
    let vae = run.model.init(device).load(out.join(WEIGHTS))?;
    Ok((vae, run))
}

/// Copies the configuration of the tokenizer's run `from` the first time, and returns its newest checkpoint.
fn take_over(out: &Path, from: &Path, wanted: TokenizerKind) -> anyhow::Result<Option<Checkpoint>> {
    if out.join(WEIGHTS).is_file() {
        return Ok(None);
    }
    let Some(checkpoint) = latest(from)? else {
        bail!(
            "tokenizer: there is no checkpoint in `{}`; `nextscale train tokenizer` makes one",
            from.display()
        );
    };
    let (config, copy) = (from.join(crate::config::CONFIG), out.join(CONFIG));
    let kind = config::kind::<TokenizerKind>(&config)?;
    ensure!(
        kind == wanted,
        "tokenizer: `{}` is of another kind: a transformer of classes takes `kind: vq`, one of prompts `kind: bsq`, one of videos `kind: causal`",
        from.display()
    );
    fs::copy(&config, &copy).with_context(|| format!("cannot write `{}`", copy.display()))?;
    Ok(Some(checkpoint))
}

/// The vocabulary of the run `out`: that of the run that it continues, or learned the first time.
pub fn vocabulary(
    out: &Path,
    continues: Option<&Path>,
    max_len: usize,
    learn: impl FnOnce() -> anyhow::Result<Vocab>,
) -> anyhow::Result<Vocab> {
    let path = out.join(VOCABULARY);
    if path.is_file() {
    } else if let Some(from) = continues {
        let from = from.join(VOCABULARY);
        fs::copy(&from, &path)
            .with_context(|| format!("continues: cannot copy `{}`", from.display()))?;
    } else {
        eprintln!("learning the vocabulary from the captions");
        learn()?.save(&path)?;
    }
    Ok(Vocab::from_file(&path)?.with_max_len(max_len))
}

/// Keeps the names of the classes in the run `out`, the first time.
///
/// # Errors
/// When the run was started with other classes, or the folder can't be written.
pub fn keep_classes(out: &Path, set: &Dataset) -> anyhow::Result<()> {
    let path = out.join(CLASSES);
    if !path.is_file() {
        let text = serde_json::to_string(set.classes())?;
        return fs::write(&path, text)
            .with_context(|| format!("cannot write `{}`", path.display()));
    }
    let kept = classes(out)?;
    ensure!(
        kept == set.classes(),
        "data: `{}` was started with the classes {kept:?}, not {:?}",
        out.display(),
        set.classes()
    );
    Ok(())
}

/// The names of the classes that the run `out` keeps.
///
/// # Errors
/// When there are none, or the file is damaged.
pub fn classes(out: &Path) -> anyhow::Result<Vec<String>> {
    let path = out.join(CLASSES);
    let text = fs::read(&path).with_context(|| format!("cannot read `{}`", path.display()))?;
    serde_json::from_slice(&text).with_context(|| format!("cannot read `{}`", path.display()))
}
