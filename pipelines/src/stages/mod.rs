//! The built-in stages and their parameters.
//!
//! | stage | from | to | parameters |
//! |---|---|---|---|
//! | `prompts` | | prompt | [`PromptsParams`] |
//! | `rewrite` | prompt | prompt | [`RewriteParams`] |
//! | `classes` | | class | [`ClassesParams`] |
//! | `text-encoder` | prompt | text features | [`TextEncoderParams`] |
//! | `text-to-image` | text features | latent | [`TextToImageParams`] |
//! | `class-to-image` | class | latent | [`ClassToImageParams`] |
//! | `decode` | latent | image | [`DecodeParams`] |
//! | `keep-original` | image | image | [`KeepOriginalParams`] |
//! | `fit` | image | image | [`FitParams`] |
//! | `save` | image | file | [`SaveParams`] |
//! | `text-to-video` | text features, image | video latent | [`TextToVideoParams`] |
//! | `decode-video` | video latent | frames | [`DecodeVideoParams`] |
//! | `save-video` | frames | file | [`SaveVideoParams`] |

mod batch;
mod classes;
mod decode;
mod decode_video;
mod edit_region;
mod file_names;
mod fit;
mod image;
mod image_params;
mod init_image;
mod inpaint;
mod keep_original;
mod latent_types;
mod mask;
mod only_batch;
pub(crate) mod prompt_text;
mod prompts;
mod rewrite;
mod sampling;
mod save;
mod save_video;
mod shortcuts;
mod size;
mod source_image;
mod text_encoder;
mod video;

pub use classes::{ClassRef, ClassesParams};
pub use decode::DecodeParams;
pub use decode_video::DecodeVideoParams;
pub use fit::{FitMode, FitParams};
pub use image_params::{ClassToImageParams, TextToImageParams};
pub use init_image::{StartParams, VariationParams};
pub use inpaint::EditParams;
pub use keep_original::KeepOriginalParams;
pub use mask::{Mask, has_holes, read_mask};
pub use prompt_text::foreign_syntax;
pub use prompts::{PromptsParams, read_prompts};
pub use rewrite::RewriteParams;
pub use save::SaveParams;
pub use save_video::SaveVideoParams;
pub use text_encoder::TextEncoderParams;
pub use video::params::TextToVideoParams;

use crate::registry::Registry;

impl Registry {
    /// The built-in stages.
    pub fn builtin() -> Self {
        let mut registry = Self::empty();
        registry.add(prompts::Prompts::new);
        registry.add(rewrite::Rewrite::new);
        registry.add(classes::Classes::new);
        registry.add(text_encoder::TextEncoderStage::new);
        registry.add(image::text_to_image);
        registry.add(image::class_to_image);
        registry.add(decode::Decode::new);
        registry.add(keep_original::KeepOriginal::new);
        registry.add(save::Save::new);
        registry.add(fit::Fit::new);
        registry.add(video::TextToVideo::new);
        registry.add(decode_video::DecodeVideo::new);
        registry.add(save_video::SaveVideo::new);
        registry
    }
}
