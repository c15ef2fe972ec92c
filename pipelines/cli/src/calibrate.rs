//! `nextscale calibrate`: which layers of a model need a large cache of keys and values, for `--cache-index`.

use std::path::PathBuf;

use clap::Args;
use nextscale_eval::calibrate::{self, CalibrateOptions};
use nextscale_models::DEFAULT;
use nextscale_models::cache_index::{CacheIndex, LayerKind};
use nextscale_models::device::{DeviceChoice, Dtype};

use crate::eval::prompts_of;
use crate::options::{at_least_one, choice};
use crate::{bar, output};

#[derive(Debug, Args)]
pub(crate) struct CalibrateArgs {
    /// Model as for `generate`
    #[arg(short, long, value_name = "NAME|PATH", default_value = DEFAULT)]
    model: String,
    /// Prompt; repeat for more [default: some everyday things]
    #[arg(short, long, conflicts_with_all = ["prompt_file", "class"])]
    prompt: Vec<String>,
    /// File with one prompt per line
    #[arg(long, value_name = "FILE", conflicts_with = "class")]
    prompt_file: Option<PathBuf>,
    /// Class name or number, for class-conditional models; repeat for more [default: all classes]
    #[arg(long)]
    class: Vec<String>,
    /// Number of images; prompts take turns
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = at_least_one())]
    count: usize,
    /// Seed of the first image
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Width in pixels [default: the model's]
    #[arg(short = 'W', long, value_name = "N", requires = "height")]
    width: Option<usize>,
    /// Height in pixels [default: the model's]
    #[arg(short = 'H', long, value_name = "N", requires = "width")]
    height: Option<usize>,
    /// Compute device: auto, cpu, cuda or gpu, or cuda:N or gpu:N for the one of number N
    #[arg(long, value_name = "DEVICE", default_value = "auto")]
    device: DeviceChoice,
    /// Number type of the transformer's weights
    #[arg(long, value_parser = choice::<Dtype>(), default_value = "auto")]
    dtype: Dtype,
    /// Fix which kernels a card takes: slower, and the same figures on every card of one kind
    #[arg(long)]
    deterministic: bool,
    /// File to write
    #[arg(short, long, value_name = "FILE", default_value = "cache-index.json")]
    output: PathBuf,
}

pub(crate) fn run(args: CalibrateArgs) -> anyhow::Result<()> {
    let prompts = match &args.prompt_file {
        Some(file) => prompts_of(file)?,
        None if args.prompt.is_empty() => args.class,
        None => args.prompt,
    };
    let options = CalibrateOptions {
        model: args.model,
        prompts,
        count: args.count,
        seed: args.seed,
        size: args.width.zip(args.height).map(Into::into),
        device: args.device,
        dtype: args.dtype,
        deterministic: args.deterministic,
    };
    let bar = bar::items("calibrating");
    let index = calibrate::run(&options, &|done, total| bar::show(&bar, done, total));
    bar.finish_and_clear();
    let index = index?;
    output::write_json(&args.output, &index)?;
    output::print(table(&index).trim_end())
}

fn table(index: &CacheIndex) -> String {
    let mut text = format!(
        "{}, {} images: attention that stays with a tenth of the earlier tokens\n",
        index.model, index.images
    );
    text += "layer  kind      stays   by scale, from the second\n";
    for (number, layer) in index.layers.iter().enumerate() {
        let kind = match layer.kind {
            LayerKind::Drafter => "drafter",
            LayerKind::Refiner => "refiner",
        };
        let percent = |share: &f64| format!("{:5.1}%", share * 100.0);
        let scales: Vec<String> = layer.by_scale.iter().map(percent).collect();
        let (stays, scales) = (percent(&layer.selectivity), scales.join(" "));
        text += &format!("{number:>5}  {kind:<8} {stays:>6}  {scales}\n");
    }
    text
}
