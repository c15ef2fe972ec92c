//! Which latent fits which decoder, and which text features which transformer.

use nextscale_models::bundle::{Bundle, ClassBundle, StarBundle, VAE};

use crate::artifact::{ArtifactType, Kind};

/// Adds the fingerprint of a part, so that parts of the same shape from two models do not pass as one.
pub(super) fn with_fingerprint(
    of: ArtifactType,
    part: &'static str,
    print: Option<&str>,
) -> ArtifactType {
    match print {
        Some(print) => of.constraint(part, &print[..print.len().min(12)]),
        None => of,
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
