//! `nextscale video`: the built-in pipeline of videos with the options of the command line put in.

use std::io::IsTerminal;
use std::path::PathBuf;

use clap::Args;

use crate::options::{Options, parse_seed};
use nextscale_models::bundle::{Model, Places, SPRITES};
use nextscale_models::device::{DeviceChoice, Dtype};
use nextscale_pipelines::error::PipelineError;
use nextscale_pipelines::media::CodecChoice;
use nextscale_pipelines::spec::PipelineSpec;
use nextscale_pipelines::yaml::Node;

/// Arguments of `nextscale video`.
#[derive(Debug, Args)]
pub(super) struct VideoArgs {
    /// What happens; repeat it for several videos, or with an interactive model for one in which one thing happens after
    /// the other. Standard input is read if there is none
    #[arg(short, long, conflicts_with = "prompt_file")]
    prompt: Vec<String>,
    /// A file with one prompt a line
    #[arg(long, value_name = "FILE")]
    prompt_file: Option<PathBuf>,
    /// What not to show
    #[arg(short, long, value_name = "TEXT")]
    negative_prompt: Option<String>,
    /// The model: `sprites` for the one inside this program, a released one (see `nextscale models`), a model folder, or
    /// a checkpoint
    #[arg(short, long, value_name = "NAME|PATH")]
    model: Option<String>,
    /// A folder in which the files of released models are looked for first
    #[arg(long, value_name = "DIR")]
    models_dir: Option<PathBuf>,
    /// Seed of the first video, from 0 to 2^64-1; each further one adds 1. Random if absent
    #[arg(short, long, value_parser = parse_seed, allow_hyphen_values = true)]
    seed: Option<u64>,
    /// Videos of each prompt
    #[arg(short, long, value_name = "N")]
    batch_count: Option<u32>,
    /// Begin with this picture: PNG, JPEG or WebP
    #[arg(short, long, visible_alias = "init-image", value_name = "FILE")]
    image: Option<PathBuf>,
    /// Go on from the last seconds of this video, which are the beginning of the result
    #[arg(long, value_name = "FILE", conflicts_with = "image")]
    video: Option<PathBuf>,
    #[command(flatten)]
    length: Length,
    #[command(flatten)]
    size: Size,
    #[command(flatten)]
    sampling: Sampling,
    #[command(flatten)]
    file: File,
    /// Where to compute
    #[arg(long, value_enum)]
    device: Option<DeviceChoice>,
    /// Number type of the weights
    #[arg(long, value_enum)]
    dtype: Option<Dtype>,
    /// Leave the transformer's blocks in their file and read them in every pass: for models larger than memory
    #[arg(long)]
    stream: bool,
    /// Keep the text encoder in memory beside the transformer, instead of reading all prompts first: more memory, and the
    /// first of many videos comes sooner
    #[arg(long)]
    keep_loaded: bool,
    /// A folder for the first frame of each clip as it is after each pass
    #[arg(long, value_name = "DIR")]
    preview: Option<PathBuf>,
    /// Show how long each part took
    #[arg(long)]
    timings: bool,
    /// Print the pipeline instead of running it
    #[arg(long)]
    print_pipeline: bool,
}

/// How long the video gets.
#[derive(Debug, Args)]
struct Length {
    /// Length in seconds, with that of a given video; 0 is a picture
    #[arg(long, allow_hyphen_values = true, value_parser = parse_number)]
    seconds: Option<f64>,
    /// Length in frames, instead of seconds
    #[arg(long, value_name = "N", conflicts_with = "seconds")]
    frames: Option<usize>,
}

/// The size of a frame.
#[derive(Debug, Args)]
struct Size {
    /// Width in pixels
    #[arg(short = 'W', long)]
    width: Option<usize>,
    /// Height in pixels
    #[arg(short = 'H', long)]
    height: Option<usize>,
    /// Width to height, for example 16:9; the nearest size that the model knows is taken
    #[arg(long, value_name = "W:H", conflicts_with_all = ["width", "height"])]
    aspect: Option<String>,
}

/// How bits are drawn.
#[derive(Debug, Args)]
struct Sampling {
    /// How strongly the prompt counts; 1 turns guidance off
    #[arg(long, allow_hyphen_values = true, value_parser = parse_number)]
    cfg_scale: Option<f64>,
    /// For what moves: above 1 more varied, below 1 more likely; 0 always takes the likeliest
    #[arg(long, allow_hyphen_values = true, value_parser = parse_number)]
    temperature: Option<f64>,
    /// The same for the image that a video begins with
    #[arg(long, allow_hyphen_values = true, value_parser = parse_number)]
    image_temperature: Option<f64>,
}

/// How the result is written.
#[derive(Debug, Args)]
struct File {
    /// A file (.mp4, .mov, .mkv, .webm, .gif; .png, .jpg or .webp for one frame), a name with {index}, {seed} or
    /// {prompt}, or a folder for the frames, with / at its end
    #[arg(short, long)]
    output: Option<String>,
    /// How the video is compressed; H.264, or VP9 for .webm, if absent
    #[arg(long, value_enum)]
    codec: Option<CodecChoice>,
    /// Constant rate factor: 0 is the best and largest, 18 hard to tell from it, 51 (VP9: 63) the worst
    #[arg(long, value_name = "N")]
    quality: Option<u32>,
    /// Frames shown a second, as many as the model makes if absent: others play slower or faster
    #[arg(long, value_name = "N")]
    fps: Option<usize>,
    /// Write no prompt, seed and pipeline into the file
    #[arg(long)]
    no_metadata: bool,
}

/// A number: neither infinite nor none.
fn parse_number(text: &str) -> Result<f64, String> {
    let number = text.parse().ok().filter(|number: &f64| number.is_finite());
    number.ok_or_else(|| "it should be a number, such as 2.5".to_owned())
}

pub(super) fn run(args: &VideoArgs) -> anyhow::Result<()> {
    let root = build(args)?;
    if args.print_pipeline {
        return crate::output::print(root.to_yaml().trim_end());
    }
    crate::run::execute(PipelineSpec::from_node(root)?, args.timings)
}

/// The preset with every given option at its place.
fn build(args: &VideoArgs) -> Result<Node, PipelineError> {
    let from_stdin = args.prompt.is_empty() && args.prompt_file.is_none();
    if from_stdin && std::io::stdin().is_terminal() {
        let hint = "say what happens: --prompt \"red apple bouncing\"";
        return Err(PipelineError::refused_with("there is no prompt", hint));
    }
    let preset = PipelineSpec::preset("video");
    let mut root = preset.unwrap_or_else(|| Node::map("preset"));
    let mut set = Options(&mut root);
    set.top("model", "--model", &args.model)?;
    set.top("models-dir", "--models-dir", &args.models_dir)?;
    set.top("seed", "--seed", &args.seed)?;
    set.top("device", "--device", &args.device)?;
    set.top("dtype", "--dtype", &args.dtype)?;
    let keep_loaded = args.keep_loaded.then_some(true);
    set.top("keep-loaded", "--keep-loaded", &keep_loaded)?;
    set.top("preview", "--preview", &args.preview)?;
    set.top("output", "--output", &args.file.output)?;
    let metadata = args.file.no_metadata.then_some(false);
    set.top("metadata", "--no-metadata", &metadata)?;
    prompts(args, &mut set)?;
    let maker = "text-to-video";
    set.stage(maker, "image", "--image", &args.image)?;
    set.stage(maker, "video", "--video", &args.video)?;
    set.stage(maker, "stream", "--stream", &args.stream.then_some(true))?;
    set.stage(maker, "seconds", "--seconds", &args.length.seconds)?;
    set.stage(maker, "frames", "--frames", &args.length.frames)?;
    let Size {
        width,
        height,
        aspect,
    } = &args.size;
    set.stage(maker, "width", "--width", width)?;
    set.stage(maker, "height", "--height", height)?;
    set.stage(maker, "aspect", "--aspect", aspect)?;
    let Sampling {
        cfg_scale,
        temperature,
        image_temperature,
    } = &args.sampling;
    set.stage(maker, "cfg-scale", "--cfg-scale", cfg_scale)?;
    set.stage(maker, "temperature", "--temperature", temperature)?;
    let option = "--image-temperature";
    set.stage(maker, "image-temperature", option, image_temperature)?;
    let saver = "save-video";
    set.stage(saver, "codec", "--codec", &args.file.codec)?;
    set.stage(saver, "quality", "--quality", &args.file.quality)?;
    set.stage(saver, "fps", "--fps", &args.file.fps)?;
    Ok(root)
}

fn prompts(args: &VideoArgs, set: &mut Options) -> Result<(), PipelineError> {
    let given = (!args.prompt.is_empty()).then_some(&args.prompt);
    set.stage("prompts", "prompts", "--prompt", &given)?;
    set.stage("prompts", "file", "--prompt-file", &args.prompt_file)?;
    let negative = &args.negative_prompt;
    set.stage("prompts", "negative", "--negative-prompt", negative)?;
    set.stage("prompts", "count", "--batch-count", &args.batch_count)?;
    let story = is_interactive(args).then_some(true);
    set.stage("prompts", "story", "--prompt", &story)
}

/// Whether the model goes from prompt to prompt in one video. One that cannot be opened is reported with the rest of the
/// pipeline.
fn is_interactive(args: &VideoArgs) -> bool {
    let places = Places::new(args.models_dir.as_deref());
    let name = args.model.as_deref().unwrap_or(SPRITES);
    match Model::open_in(name, &places) {
        Ok(Model::Video(bundle)) => bundle.manifest().semantic_scale.is_some(),
        _ => false,
    }
}
