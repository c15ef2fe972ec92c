//! `nextscale convert`: any checkpoint to one safetensors file.

use std::path::PathBuf;

use anyhow::bail;
use clap::{Args, ValueEnum};

use nextscale_models::LoraChoice;
use nextscale_models::convert::{Conversion, ConvertedDtype};
use nextscale_pipelines::stage::Cancel;
use nextscale_weights::WeightDtype;

use crate::{bar, signal};

#[derive(Debug, Args)]
pub(super) struct ConvertArgs {
    /// Checkpoint: a PyTorch or safetensors file, or a folder or index of shards
    input: PathBuf,
    /// File to write, ending with .safetensors
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// Add a low-rank adapter (LoRA) to a transformer's weights, as FILE or FILE:WEIGHT; repeat for more
    #[arg(long, value_name = "FILE[:WEIGHT]")]
    merge_lora: Vec<LoraChoice>,
    /// Number type of the weights; unchanged by default
    #[arg(long, value_enum)]
    dtype: Option<FileDtype>,
}

/// Number type in a file.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum FileDtype {
    /// 32 bits
    F32,
    /// 16 bits
    F16,
    /// 16 bits with the range of f32
    Bf16,
    /// 8 bits for the matrices of a transformer's blocks, or of a tokenizer or text encoder; all others unchanged
    Int8,
}

pub(super) fn run(args: &ConvertArgs) -> anyhow::Result<()> {
    let out = &args.output;
    if out.extension().is_none_or(|e| e != "safetensors") {
        bail!(
            "the output `{}` should end with .safetensors",
            out.display()
        );
    }
    let mut conversion = Conversion::open(&args.input)?;
    eprintln!("{}: {}", args.input.display(), conversion.kind());
    let dtype = match args.dtype {
        None => ConvertedDtype::Unchanged,
        Some(FileDtype::F32) => ConvertedDtype::Float(WeightDtype::F32),
        Some(FileDtype::F16) => ConvertedDtype::Float(WeightDtype::F16),
        Some(FileDtype::Bf16) => ConvertedDtype::Float(WeightDtype::Bf16),
        Some(FileDtype::Int8) => ConvertedDtype::Int8,
    };
    conversion.merge(&args.merge_lora, dtype)?;
    let cancel = Cancel::default();
    let on_stop = cancel.clone();
    let _runtime = signal::runtime(move || on_stop.cancel())?;
    let bar = bar::bytes("written");
    let written = conversion.write(out, dtype, |done, all| {
        bar.set_length(all);
        bar.set_position(done);
        !cancel.is_cancelled()
    });
    bar.finish_and_clear();
    Ok(written?)
}
