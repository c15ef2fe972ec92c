//! Reading training configurations.

use std::fs;
use std::path::{Path, PathBuf};

use nextscale_tokenizer::{Scale, ScaleSchedule};
use nextscale_var_core::train::TrainOptions;
use serde::{Deserialize, de::DeserializeOwned};

use crate::error::{Result, TrainError, ensure};

/// Reads a YAML file.
pub(crate) fn read<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let text = fs::read_to_string(path).map_err(TrainError::io("read", path))?;
    let name = path.display();
    serde_saphyr::from_str(&text).map_err(|error| match error.location() {
        Some(at) => TrainError::Config {
            place: format!("{name}:{}:{}", at.line(), at.column()),
            message: error.without_snippet().to_string(),
        },
        None => TrainError::Config {
            place: name.to_string(),
            message: error.to_string(),
        },
    })
}

/// The keys that all configurations have.
#[derive(Deserialize)]
pub(crate) struct SharedKeys {
    /// Folder of the data set.
    pub data: PathBuf,
    /// Budget, learning rate and so on.
    pub train: TrainOptions,
}

/// Reads only the key `kind` of a configuration; the default kind if it has none.
pub(crate) fn kind<K: DeserializeOwned + Default>(path: &Path) -> Result<K> {
    #[derive(Deserialize)]
    struct Header<K> {
        kind: Option<K>,
    }
    Ok(read::<Header<K>>(path)?.kind.unwrap_or_default())
}

/// Rejects a last scale that is not the latent of images of `size` x `size` pixels.
pub(crate) fn check_latent(last: Scale, size: usize, stride: usize) -> Result<()> {
    let side = size / stride;
    ensure!(
        size.is_multiple_of(stride) && (last.h, last.w) == (side, side),
        "the last scale is {}x{}, but an image of {size} pixels has a latent of {side}x{side} at a stride of {stride}",
        last.h,
        last.w
    );
    Ok(())
}

/// Rejects group norms that don't divide the channels.
pub(crate) fn check_norm_groups(
    groups: usize,
    channels: impl Iterator<Item = usize>,
) -> Result<()> {
    for channels in channels {
        ensure!(
            groups > 0 && channels > 0 && channels.is_multiple_of(groups),
            "model: {groups} norm groups don't divide {channels} channels"
        );
    }
    Ok(())
}

/// Rejects a share or a chance that is not in 0..=1.
pub(crate) fn check_fraction(key: &str, value: f64) -> Result<()> {
    ensure!(
        (0.0..=1.0).contains(&value),
        "{key}: {value} is not between 0 and 1"
    );
    Ok(())
}

/// The schedule of image scales with these heights and widths.
pub(crate) fn schedule(scales: &[(usize, usize)]) -> Result<ScaleSchedule> {
    let scales = scales.iter().map(|&(h, w)| Scale::image(h, w));
    ScaleSchedule::new(scales.collect()).map_err(|error| TrainError::setting("scales", error))
}
