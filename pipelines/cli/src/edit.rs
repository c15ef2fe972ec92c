//! `nextscale edit`: a part of a picture painted anew.

use std::path::PathBuf;

use clap::Args;

use crate::options::{self, GenerateArgs, Options};
use nextscale_pipelines::error::PipelineError;
use nextscale_pipelines::yaml::Node;

/// Arguments of `nextscale edit`: those of `generate`, the picture and what is painted anew.
#[derive(Debug, Args)]
pub(super) struct EditArgs {
    /// The picture to edit: PNG, JPEG or WebP
    #[arg(short, long, value_name = "FILE")]
    init_image: PathBuf,
    #[command(flatten)]
    part: Part,
    /// Paint everything but the mask or the box anew
    #[arg(long)]
    invert: bool,
    /// Put the original pixels back where they stay, exactly
    #[arg(long)]
    keep_original: bool,
    #[command(flatten)]
    paint: GenerateArgs,
}

/// Which part is painted anew.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct Part {
    /// A picture of the same size: white is painted anew, black stays
    #[arg(long, value_name = "FILE")]
    mask: Option<PathBuf>,
    /// A rectangle that is painted anew, in pixels of the picture or in percent, for example 25%,25%,50%,50%
    #[arg(
        long = "box",
        value_name = "LEFT,TOP,WIDTH,HEIGHT",
        allow_hyphen_values = true
    )]
    region: Option<String>,
    /// Continue the picture at a side: the share of the result that is new, for example \"left 0.5\"
    #[arg(long, value_name = "SIDE SHARE")]
    outpaint: Option<String>,
}

pub(super) fn run(args: &EditArgs) -> anyhow::Result<()> {
    options::finish(&args.paint, build(args)?)
}

/// The preset with the edit in the stage that paints and, if the original is to be kept, behind the decoder.
fn build(args: &EditArgs) -> Result<Node, PipelineError> {
    let mut root = options::build(&args.paint)?;
    let mut edit = serde_json::json!({
        "image": args.init_image,
        "mask": args.part.mask,
        "box": args.part.region,
        "outpaint": args.part.outpaint,
        "invert": args.invert,
    });
    if let Some(map) = edit.as_object_mut() {
        map.retain(|_, value| !value.is_null());
    }
    let edit = Some(edit);
    let painter = options::painter(&args.paint);
    Options(&mut root).stage(painter, "edit", "--init-image", &edit)?;
    if args.keep_original {
        let stage = serde_json::json!({ "stage": "keep-original", "from": "image", "edit": edit });
        let origin = "--init-image"; // both stages stumble over the same picture
        root.set(&["stages", "kept"], Node::from_data(&stage, origin)?)?;
        root.set(
            &["stages", "save", "from"],
            Node::from_data(&"kept", origin)?,
        )?;
    }
    Ok(root)
}
