//! The built-in stages.

mod class_to_image;
mod classes;
mod decode;
mod decode_video;
mod edit;
mod first_frame;
mod fit;
mod keep_original;
mod paint;
mod prompts;
mod rewrite;
mod sampling;
mod save;
mod save_video;
mod size;
mod start;
mod text_encoder;
mod text_to_image;
mod text_to_video;
mod video_length;

pub(crate) use decode::LARGE;

use crate::artifact::{ArtifactType, Kind};
use crate::bundle::{Bundle, ClassBundle, StarBundle, VAE};
use crate::registry::Registry;

/// Registers them all, through the door that every other stage uses.
pub(crate) fn register(registry: &mut Registry) {
    registry.register("prompts", prompts::Prompts::new);
    registry.register("rewrite", rewrite::Rewrite::new);
    registry.register("classes", classes::Classes::new);
    registry.register("text-encoder", text_encoder::TextEncoderStage::new);
    registry.register("text-to-image", text_to_image::TextToImage::new);
    registry.register("class-to-image", class_to_image::ClassToImage::new);
    registry.register("decode", decode::Decode::new);
    registry.register("keep-original", keep_original::KeepOriginal::new);
    registry.register("save", save::Save::new);
    registry.register("fit", fit::Fit::new);
    registry.register("text-to-video", text_to_video::TextToVideo::new);
    registry.register("decode-video", decode_video::DecodeVideo::new);
    registry.register("save-video", save_video::SaveVideo::new);
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

/// The latents of a video model.
fn video_latent(bundle: &StarBundle) -> ArtifactType {
    let channels = bundle.manifest().vae.latent_channels();
    let latent = ArtifactType::new(Kind::VideoLatent).fact("channels", channels);
    with_print(latent, "the auto-encoder", bundle.fingerprint_of(VAE))
}

/// The latents of a class-conditional model.
fn codebook_latent(bundle: &ClassBundle) -> ArtifactType {
    let vae = &bundle.manifest().vae;
    let codes = format!("out of {} with {} channels", vae.vocabulary, vae.channels);
    let latent = ArtifactType::new(Kind::Latent).fact("codes", codes);
    with_print(latent, "the auto-encoder", bundle.vae_print())
}
