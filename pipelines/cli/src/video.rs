//! `nextscale video`: videos from prompts, images or other videos.

use clap::Args;

use nextscale_models::search::SearchPath;
use nextscale_models::{Manifest, Model, SPRITES};
use nextscale_pipelines::error::PipelineError;
use nextscale_pipelines::file_path::FilePath;
use nextscale_pipelines::media::{CodecChoice, FrameRate};
use nextscale_pipelines::per_scale::PerScale;
use nextscale_pipelines::spec::{PipelineSpec, Preset};
use nextscale_pipelines::yaml::Node;

use crate::options::{PromptOptions, RunOptions, SizeOptions, choice, parse_number};
use crate::settings::{Settings, flag};

#[derive(Debug, Args)]
#[command(
    mut_arg("prompt", |arg| arg.help("Prompt; repeat for more videos or, with --story or an interactive model, for what happens next in the same video. Read from standard input by default")),
    mut_arg("output", |arg| arg.help("Output: a file (.mp4, .mov, .mkv, .webm, .gif; .png, .jpg or .webp for one frame), a name with {index}, {seed} or {prompt}, or a folder for the frames, ending with /")),
)]
pub(crate) struct VideoArgs {
    #[command(flatten)]
    prompts: PromptOptions,
    /// Start from this image: PNG, JPEG, WebP, TIFF or GIF
    #[arg(short, long, visible_alias = "init-image", value_name = "FILE")]
    image: Option<FilePath>,
    /// Continue this video from its last seconds, which become the start of the result
    #[arg(long, value_name = "FILE", conflicts_with = "image")]
    video: Option<FilePath>,
    /// Make one video of all prompts, a clip for each; interactive models always do
    #[arg(long)]
    story: bool,
    #[command(flatten)]
    length: Length,
    #[command(flatten)]
    size: SizeOptions,
    #[command(flatten)]
    sampling: VideoSampling,
    #[command(flatten)]
    file: VideoFile,
    #[command(flatten)]
    run: RunOptions,
}

/// Length of the video.
#[derive(Debug, Args)]
struct Length {
    /// Length in seconds, including that of a given video; 0 for a single image
    #[arg(long, allow_hyphen_values = true, value_parser = parse_number)]
    seconds: Option<f64>,
    /// Length in frames instead of seconds
    #[arg(long, value_name = "N", conflicts_with = "seconds")]
    frames: Option<usize>,
}

/// How bits are sampled.
#[derive(Debug, Args)]
struct VideoSampling {
    /// Guidance scale; 1 turns guidance off
    #[arg(long, value_name = "N", allow_hyphen_values = true, value_parser = parse_number)]
    cfg_scale: Option<f64>,
    /// Temperature of the moving frames: above 1 more varied, below 1 more likely; 0 always takes the most likely value
    #[arg(long, value_name = "N", allow_hyphen_values = true, value_parser = parse_number)]
    temperature: Option<f64>,
    /// Leave out what costs few details: guidance in the last scales, which take most of the time
    #[arg(long)]
    fast: bool,
    /// Guide only the first N scales of each clip; each of the others takes half the time
    #[arg(long, value_name = "N")]
    guidance_until: Option<usize>,
    /// Shares of the tokens that the last scales of each clip compute, coarse to fine: 0.6,0.5 for the last two
    #[arg(long, value_name = "N[,N..]", allow_hyphen_values = true)]
    keep_tokens: Option<PerScale>,
    /// Run at most N passes over each scale
    #[arg(long, value_name = "N")]
    repeats: Option<usize>,
    /// Leave out the other passes over a scale once less than this share of its bits repeats from one pass to the next: 0.3
    #[arg(long, value_name = "SHARE", allow_hyphen_values = true, value_parser = parse_number)]
    converge: Option<f64>,
    /// Temperature of the first frame
    #[arg(long, value_name = "N", allow_hyphen_values = true, value_parser = parse_number)]
    image_temperature: Option<f64>,
}

/// How the video is encoded.
#[derive(Debug, Args)]
struct VideoFile {
    /// Video codec; H.264 by default, VP9 for .webm
    #[arg(long, value_parser = choice::<CodecChoice>())]
    codec: Option<CodecChoice>,
    /// Constant rate factor (CRF): 0 is the best and largest, 18 is visually lossless, 51 (VP9: 63) is the worst
    #[arg(long, value_name = "N")]
    quality: Option<u32>,
    /// Frames per second of playback; those of the model by default. Other values play slower or faster
    #[arg(long, value_name = "N")]
    fps: Option<FrameRate>,
}

pub(crate) fn run(args: &VideoArgs) -> anyhow::Result<()> {
    args.run.execute(pipeline(args)?)
}

/// The built-in pipeline with every given option at its place.
fn pipeline(args: &VideoArgs) -> Result<Node, PipelineError> {
    args.prompts.check("a red apple bouncing")?;
    let mut root = PipelineSpec::preset(Preset::Video)?;
    let set = &mut Settings(&mut root);
    args.prompts.apply(set, "prompts")?;
    let story = flag(args.story || is_interactive(&args.prompts));
    set.stage_as("prompts", "--story", "story", &story)?;
    args.run.apply(set)?;
    let generator = "text-to-video";
    set.stage(generator, "image", &args.image)?;
    set.stage(generator, "video", &args.video)?;
    set.stage(generator, "stream", &flag(args.run.stream))?;
    set.stage(generator, "seconds", &args.length.seconds)?;
    set.stage(generator, "frames", &args.length.frames)?;
    args.size.apply(set, generator)?;
    args.sampling.apply(set, generator)?;
    let saver = "save-video";
    set.stage(saver, "codec", &args.file.codec)?;
    set.stage(saver, "quality", &args.file.quality)?;
    set.stage(saver, "fps", &args.file.fps)?;
    Ok(root)
}

impl VideoSampling {
    fn apply(&self, set: &mut Settings, generator: &str) -> Result<(), PipelineError> {
        set.stage(generator, "cfg-scale", &self.cfg_scale)?;
        set.stage(generator, "temperature", &self.temperature)?;
        set.stage(generator, "image-temperature", &self.image_temperature)?;
        set.stage(generator, "fast", &flag(self.fast))?;
        set.stage(generator, "guidance-until", &self.guidance_until)?;
        set.stage(generator, "keep-tokens", &self.keep_tokens)?;
        set.stage(generator, "repeats", &self.repeats)?;
        set.stage(generator, "converge", &self.converge)
    }
}

/// Whether the model continues one video from prompt to prompt. No weight is read, and a model that cannot be opened is
/// reported with the rest of the pipeline.
fn is_interactive(prompts: &PromptOptions) -> bool {
    let search_path = SearchPath::new(prompts.models_dir.as_deref());
    let name = prompts.model.as_deref().unwrap_or(SPRITES);
    let model = Model::open_in(name, &search_path);
    model.is_ok_and(|model| match model.manifest() {
        Manifest::InfinityStar(manifest) => manifest.semantic_scale.is_some(),
        _ => false,
    })
}
