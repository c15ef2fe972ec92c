//! The built-in stages.

mod decode;
mod prompts;
mod save;
mod text_encoder;
mod text_to_image;

use crate::artifact::ArtifactType;
use crate::bundle::Bundle;
use crate::registry::Registry;

/// Registers them all, through the door that every other stage uses.
pub(crate) fn register(registry: &mut Registry) {
    registry.register("prompts", prompts::Prompts::new);
    registry.register("text-encoder", text_encoder::TextEncoderStage::new);
    registry.register("text-to-image", text_to_image::TextToImage::new);
    registry.register("decode", decode::Decode::new);
    registry.register("save", save::Save::new);
}

/// Adds the fingerprint of a part, so that parts of the same shape from two models do not pass as one.
fn with_print(of: ArtifactType, part: &'static str, bundle: &Bundle, file: &str) -> ArtifactType {
    match bundle.fingerprint_of(file) {
        Some(print) => of.fact(part, &print[..print.len().min(12)]),
        None => of,
    }
}
