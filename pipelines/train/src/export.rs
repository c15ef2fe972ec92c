//! Export of a run's averaged weights as a model folder: in 16 bits under the official key names, with the manifest that
//! binds them.

use std::path::Path;

use crate::config;
use crate::error::{TrainError, ensure};
use crate::run_folder::{CONFIG, checkpoint};
use crate::transformer::TransformerKind;
use crate::transformer::{fine_tune, infinity, infinity_star, var};

/// Writes the newest checkpoint of the transformer's run `from` as the model folder `out`, and returns the step of the
/// checkpoint. A fine-tune is also written as a file, as its ending says.
///
/// With `decoder_of`, the decoder comes from that tokenizer's run, which has trained it for the codes of the same encoder.
///
/// # Errors
/// If a run has no checkpoint, the decoder was trained for another encoder, or the folder can't be written.
pub fn export(from: &Path, out: &Path, decoder_of: Option<&Path>) -> Result<u64, TrainError> {
    let config = from.join(CONFIG);
    let checkpoint = checkpoint(from)?;
    match config::kind(&config)? {
        TransformerKind::Infinity => infinity::export(from, &checkpoint, out, decoder_of)?,
        TransformerKind::Var => {
            ensure!(
                decoder_of.is_none(),
                "--decoder-of is for models of prompts: tokenizers with a codebook have no `encoder_of`"
            );
            var::export(from, &checkpoint, out)?;
        }
        TransformerKind::InfinityStar => {
            infinity_star::export(from, &checkpoint, out, decoder_of)?;
        }
        TransformerKind::FineTune => {
            ensure!(
                decoder_of.is_none(),
                "--decoder-of is for models that are trained with their tokenizer"
            );
            fine_tune::export(from, &checkpoint, out)?;
        }
        TransformerKind::Raster | TransformerKind::Dit => {
            ensure!(
                false,
                "`{}` is the run of a comparator, which is no model of the program: `nextscale study` reads it as it is",
                from.display()
            );
        }
    }
    Ok(checkpoint.progress()?.step)
}
