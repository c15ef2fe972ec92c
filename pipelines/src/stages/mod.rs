//! The built-in stages.

mod batch;
mod class_to_image;
mod classes;
mod decode;
mod decode_video;
mod fit;
mod init_image;
mod inpaint;
mod keep_original;
mod latent_types;
mod prompts;
mod rewrite;
mod sampling;
mod save;
mod save_video;
mod size;
mod text_encoder;
mod text_to_image;
mod video;

use crate::registry::Registry;

impl Registry {
    /// The built-in stages.
    pub fn builtin() -> Self {
        let mut registry = Self::empty();
        register(&mut registry);
        registry
    }
}

/// Registers them all, through the door that every other stage uses.
fn register(registry: &mut Registry) {
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
    registry.register("text-to-video", video::TextToVideo::new);
    registry.register("decode-video", decode_video::DecodeVideo::new);
    registry.register("save-video", save_video::SaveVideo::new);
}
