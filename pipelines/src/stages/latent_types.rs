//! Which latent fits which decoder, and which text features fit which transformer.

use nextscale_models::bundle::{Bundle, ClassBundle, StarBundle, VAE};

use crate::artifact::{ArtifactType, Kind};

/// Adds the fingerprint of a part, so that parts of the same shape from two models do not fit together.
pub(super) fn with_fingerprint(
    kind: ArtifactType,
    part: &'static str,
    fingerprint: Option<&str>,
) -> ArtifactType {
    match fingerprint {
        Some(print) => kind.constraint(part, &print[..print.len().min(12)]),
        None => kind,
    }
}

/// The latents of a text-to-image model.
pub(super) fn bit_latent(bundle: &Bundle) -> ArtifactType {
    let codes = format!("of {} bits", bundle.manifest().vae.bits);
    let latent = ArtifactType::new(Kind::Latent).constraint("codes", codes);
    with_fingerprint(latent, "the auto-encoder", bundle.fingerprint_of(VAE))
}

/// The latents of a video model.
pub(super) fn video_latent(bundle: &StarBundle) -> ArtifactType {
    let channels = bundle.manifest().vae.latent_channels();
    let latent = ArtifactType::new(Kind::VideoLatent).constraint("channels", channels);
    with_fingerprint(latent, "the auto-encoder", bundle.fingerprint_of(VAE))
}

/// The latents of a class-conditional model.
pub(super) fn codebook_latent(bundle: &ClassBundle) -> ArtifactType {
    let vae = &bundle.manifest().vae;
    let codes = format!("out of {} with {} channels", vae.vocabulary, vae.channels);
    let latent = ArtifactType::new(Kind::Latent).constraint("codes", codes);
    with_fingerprint(latent, "the auto-encoder", bundle.vae_print())
}
