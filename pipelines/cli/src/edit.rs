//! `nextscale edit`: inpainting, outpainting and, with models that can, editing by instruction.

use std::path::Path;

use clap::Args;

use nextscale_models::EDITS;
use nextscale_pipelines::error::PipelineError;
use nextscale_pipelines::file_path::FilePath;
use nextscale_pipelines::stages::{EditParams, has_holes};
use nextscale_pipelines::yaml::Node;

use crate::image_options::ImageOptions;
use crate::settings::Settings;

/// Arguments of `nextscale edit`: those of `generate`, the image and the part to regenerate.
#[derive(Debug, Args)]
pub(crate) struct EditArgs {
    /// Image to edit: PNG, JPEG, WebP, TIFF or GIF. Without a part to regenerate, its transparent parts are; if it has none, the
    /// prompt is an instruction that changes the whole
    #[arg(short, long, value_name = "FILE")]
    init_image: FilePath,
    #[command(flatten)]
    part: Part,
    /// Invert the mask or box: regenerate everything else
    #[arg(long)]
    invert: bool,
    /// Restore the exact original pixels outside the regenerated part
    #[arg(long)]
    keep_original: bool,
    #[command(flatten)]
    options: ImageOptions,
}

/// The part to regenerate.
#[derive(Debug, Args)]
#[group(multiple = false)]
struct Part {
    /// Mask of the same size as the image: white is regenerated, black is kept; with holes, the holes are regenerated
    #[arg(long, value_name = "FILE")]
    mask: Option<FilePath>,
    /// Box to regenerate, in pixels of the image or in percent, for example 25%,25%,50%,50%
    #[arg(
        long = "box",
        value_name = "LEFT,TOP,WIDTH,HEIGHT",
        allow_hyphen_values = true
    )]
    region: Option<String>,
    /// Extend the image at one side; SHARE is the new part of the result, for example "left 0.5"
    #[arg(long, value_name = "SIDE SHARE")]
    outpaint: Option<String>,
}

pub(crate) fn run(args: &EditArgs) -> anyhow::Result<()> {
    args.options.execute(pipeline(args)?)
}

impl EditArgs {
    /// Whether the embedded model that edits by instruction is meant: no model is named, no part, and the image has no holes.
    fn is_instruction(&self) -> bool {
        let Part {
            mask,
            region,
            outpaint,
        } = &self.part;
        let part = mask.is_some() || region.is_some() || outpaint.is_some() || self.invert;
        let named = part || self.keep_original || self.options.names_model();
        // What cannot be read twice is read by the stage alone.
        let file: &Path = &self.init_image;
        !named && file.is_file() && !has_holes(file).unwrap_or(true)
    }
}

/// The pipeline of `generate` with the edit in the stage that generates and, if the original is to be kept, a stage after
/// the decoder.
fn pipeline(args: &EditArgs) -> Result<Node, PipelineError> {
    let mut root = args.options.pipeline()?;
    if args.is_instruction() {
        let option = "--init-image";
        root.set(&["model"], Node::from_data(&EDITS, option)?)?;
    }
    let edit = EditParams {
        image: args.init_image.clone(),
        mask: args.part.mask.clone(),
        region: args.part.region.clone(),
        outpaint: args.part.outpaint.clone(),
        invert: args.invert,
    };
    let option = "--init-image"; // both stages report the same image
    let generator = args.options.generator();
    Settings(&mut root).stage_as(generator, option, "edit", &Some(&edit))?;
    if args.keep_original {
        let stage = serde_json::json!({ "stage": "keep-original", "from": "image" });
        root.set(&["stages", "kept"], Node::from_data(&stage, option)?)?;
        root.set(&["stages", "kept", "edit"], Node::from_data(&edit, option)?)?;
        let from = Node::from_data(&"kept", option)?;
        root.set(&["stages", "save", "from"], from)?;
    }
    Ok(root)
}
