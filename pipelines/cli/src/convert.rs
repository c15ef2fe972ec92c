//! `nextscale convert`: any checkpoint to one safetensors file, or a model folder to another.

use std::path::PathBuf;

use anyhow::bail;
use clap::{Args, ValueEnum};

use nextscale_models::LoraChoice;
use nextscale_models::convert::{Conversion, ConvertedDtype, FolderConversion};
use nextscale_pipelines::stage::Cancel;
use nextscale_weights::WeightDtype;

use crate::{bar, signal};

#[derive(Debug, Args)]
pub(super) struct ConvertArgs {
    /// Checkpoint: a PyTorch or safetensors file, or a folder or index of shards; or a model: a folder with a nextscale.json, or
    /// `default`, `sprites` or `edits` for one inside the program
    input: PathBuf,
    /// File to write, ending with .safetensors; of a model, a new folder
    #[arg(short, long, value_name = "FILE|DIR")]
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
    /// 8 bits for the matrices of a transformer's blocks (of a model folder: all its matrices), or of a tokenizer or text encoder; all others unchanged
    Int8,
}

pub(super) fn run(args: &ConvertArgs) -> anyhow::Result<()> {
    let out = &args.output;
    let is_file = out.extension().is_some_and(|e| e == "safetensors");
    let is_model = FolderConversion::takes(&args.input);
    if is_model && is_file {
        bail!(
            "`{}` is a model: name a folder for it, not a file: -o DIR",
            args.input.display()
        );
    }
    if !is_model && !is_file {
        bail!(
            "the output `{}` should end with .safetensors",
            out.display()
        );
    }
    let dtype = match args.dtype {
        None => ConvertedDtype::Unchanged,
        Some(FileDtype::F32) => ConvertedDtype::Float(WeightDtype::F32),
        Some(FileDtype::F16) => ConvertedDtype::Float(WeightDtype::F16),
        Some(FileDtype::Bf16) => ConvertedDtype::Float(WeightDtype::Bf16),
        Some(FileDtype::Int8) => ConvertedDtype::Int8,
    };
    let cancel = Cancel::default();
    let on_stop = cancel.clone();
    let bar = bar::bytes("written");
    let go_on = |done, all| {
        bar.set_length(all);
        bar.set_position(done);
        !cancel.is_cancelled()
    };
    let written = if is_model {
        let conversion = FolderConversion::open(&args.input, &args.merge_lora)?;
        let _runtime = signal::runtime(move || on_stop.cancel())?;
        conversion.write(out, dtype, go_on)
    } else {
        let mut conversion = Conversion::open(&args.input)?;
        eprintln!("{}: {}", args.input.display(), conversion.kind());
        conversion.merge(&args.merge_lora, dtype)?;
        let _runtime = signal::runtime(move || on_stop.cancel())?;
        conversion.write(out, dtype, go_on)
    };
    bar.finish_and_clear();
    Ok(written?)
}
