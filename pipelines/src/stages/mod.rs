//! The built-in stages.

mod class_to_image;
mod classes;
mod decode;
mod edit;
mod keep_original;
mod paint;
mod prompts;
mod sampling;
mod save;
mod size;
mod start;
mod text_encoder;
mod text_to_image;

pub(crate) use decode::LARGE;

use crate::artifact::{ArtifactType, Kind};
use crate::bundle::{Bundle, ClassBundle, VAE};
use crate::registry::Registry;

/// Registers them all, through the door that every other stage uses.
pub(crate) fn register(registry: &mut Registry) {
    registry.register("prompts", prompts::Prompts::new);
    registry.register("classes", classes::Classes::new);
    registry.register("text-encoder", text_encoder::TextEncoderStage::new);
    registry.register("text-to-image", text_to_image::TextToImage::new);
    registry.register("class-to-image", class_to_image::ClassToImage::new);
    registry.register("decode", decode::Decode::new);
    registry.register("keep-original", keep_original::KeepOriginal::new);
    registry.register("save", save::Save::new);
}

/// Adds the fingerprint of a part, so that parts of the same shape from two models do not pass as one.
fn with_print(of: ArtifactType, part: &'static str, print: Option<&str>) -> ArtifactType {
    match print {
        Some(print) => of.fact(part, &print[..print.len().min(12)]),
        None => of,
    }
}

/// The latents of a text-to-image model.
fn bit_latent(bundle: &Bundle) -> ArtifactType {
    let codes = format!("of {} bits", bundle.manifest().vae.bits);
    let latent = ArtifactType::new(Kind::Latent).fact("codes", codes);
    with_print(latent, "the auto-encoder", bundle.fingerprint_of(VAE))
}

/// The latents of a class-conditional model.
fn codebook_latent(bundle: &ClassBundle) -> ArtifactType {
    let vae = &bundle.manifest().vae;
    let codes = format!("out of {} with {} channels", vae.vocabulary, vae.channels);
    let latent = ArtifactType::new(Kind::Latent).fact("codes", codes);
    with_print(latent, "the auto-encoder", bundle.vae_print())
}
