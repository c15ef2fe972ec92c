//! Which latent fits which decoder, and which text features fit which transformer.

use nextscale_models::{Manifest, Model, TEXT, VAE};

use crate::artifact::{ArtifactType, Kind};

/// Adds the checksum of a part, so that parts of the same shape from two models do not fit together.
fn with_checksum(kind: ArtifactType, part: &'static str, checksum: Option<&str>) -> ArtifactType {
    match checksum {
        Some(checksum) => kind.constraint(part, &checksum[..checksum.len().min(12)]),
        None => kind,
    }
}

/// The latents of a model.
pub(super) fn latent(model: &Model) -> ArtifactType {
    let latent = match model.manifest() {
        Manifest::Infinity(manifest) => {
            let codes = format!("of {} bits", manifest.vae.bits);
            ArtifactType::new(Kind::Latent).constraint("codes", codes)
        }
        Manifest::Var(manifest) => {
            let vae = &manifest.vae;
            let codes = format!("out of {} with {} channels", vae.vocabulary, vae.channels);
            ArtifactType::new(Kind::Latent).constraint("codes", codes)
        }
        Manifest::InfinityStar(manifest) => {
            let channels = manifest.vae.latent_channels();
            ArtifactType::new(Kind::VideoLatent).constraint("channels", channels)
        }
    };
    with_checksum(latent, "the auto-encoder", model.checksum_of(VAE))
}

/// The text features between a model's text encoder and its transformer; for a video of `frames` frames if its prompts
/// state the length.
pub(super) fn text_features(model: &Model, frames: Option<usize>) -> ArtifactType {
    let channels = model.manifest().text().map_or(0, |text| text.d_model);
    let text = ArtifactType::new(Kind::Text).constraint("channels", channels);
    let text = with_checksum(text, "the text encoder", model.checksum_of(TEXT));
    match (model.manifest(), frames) {
        (Manifest::InfinityStar(manifest), Some(frames)) if manifest.duration_tag => {
            text.constraint("frames", frames)
        }
        _ => text,
    }
}
