//! `nextscale generate`: images from prompts or classes, from the first scales of an image, or as variations of one.

use clap::Args;

use nextscale_pipelines::error::PipelineError;
use nextscale_pipelines::file_path::FilePath;
use nextscale_pipelines::stages::StartParams;
use nextscale_pipelines::yaml::Node;

use crate::image_options::ImageOptions;
use crate::settings::Settings;
use crate::variation::variation;

/// Arguments of `nextscale generate`: those that `edit` has too, and where to start.
#[derive(Debug, Args)]
pub(crate) struct GenerateArgs {
    #[command(flatten)]
    options: ImageOptions,
    /// Start from the first scales of this image, which fix layout and colours: PNG, JPEG, WebP, TIFF or GIF
    #[arg(short, long, value_name = "FILE")]
    init_image: Option<FilePath>,
    /// Generate a variation of an image made by nextscale: same prompt, settings and first scales, another seed
    #[arg(long, value_name = "FILE", conflicts_with_all = ["init_image", "prompt", "prompt_file", "class", "negative_prompt", "smooth"])]
    variation_of: Option<FilePath>,
    /// Number of scales to take from that image; half of them by default
    #[arg(long, value_name = "K")]
    from_scale: Option<usize>,
}

pub(crate) fn run(args: &GenerateArgs) -> anyhow::Result<()> {
    args.options.execute(pipeline(args)?)
}

fn pipeline(args: &GenerateArgs) -> Result<Node, PipelineError> {
    if let Some(original) = &args.variation_of {
        return variation(original, args.from_scale, &args.options);
    }
    let Some(image) = &args.init_image else {
        if args.from_scale.is_some() {
            let hint = "name the image: --init-image FILE or --variation-of FILE";
            let message = "--from-scale needs an image";
            return Err(PipelineError::refused_with(message, hint));
        }
        return args.options.pipeline();
    };
    let mut root = args.options.pipeline()?;
    let start = StartParams {
        image: image.clone(),
        from_scale: args.from_scale,
    };
    let generator = args.options.generator();
    Settings(&mut root).stage_as(generator, "--init-image", "start", &Some(start))?;
    Ok(root)
}
