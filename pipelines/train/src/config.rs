//! Reading a training configuration.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, anyhow, bail};
use nextscale_var_core::train::{Checkpoint, latest};
use serde::{Deserialize, de::DeserializeOwned};

/// The configuration in the folder of a run.
pub(crate) const CONFIG: &str = "config.yaml";

/// The configuration of a run that another one starts from, and its newest checkpoint; `key` is the setting that
/// names the run.
///
/// # Errors
/// When there is no checkpoint, or the configuration can't be read.
pub fn source<T: DeserializeOwned>(key: &str, folder: &Path) -> anyhow::Result<(T, Checkpoint)> {
    let Some(checkpoint) = latest(folder)? else {
        bail!("{key}: there is no checkpoint in `{}`", folder.display());
    };
    Ok((read(&folder.join(crate::config::CONFIG))?, checkpoint))
}

/// What a configuration says of its `kind`, before the rest of it is read.
///
/// # Errors
/// When the file can't be read, is no YAML, or states a kind that there is not.
pub fn kind<K: DeserializeOwned + Default>(path: &Path) -> anyhow::Result<K> {
    #[derive(Deserialize)]
    struct Stated<K> {
        kind: Option<K>,
    }
    Ok(read::<Stated<K>>(path)?.kind.unwrap_or_default())
}

/// Reads a YAML file; mistakes are reported with the file, line and column.
///
/// # Errors
/// When the file can't be read, or has an unknown key, a missing key or a wrong type.
pub fn read<T: DeserializeOwned>(path: &Path) -> anyhow::Result<T> {
    let name = path.display();
    let text = fs::read_to_string(path).with_context(|| format!("cannot read `{name}`"))?;
    serde_saphyr::from_str(&text).map_err(|error| match error.location() {
        Some(at) => anyhow!(
            "{name}:{}:{}: {}",
            at.line(),
            at.column(),
            error.without_snippet()
        ),
        None => anyhow!("{name}: {error}"),
    })
}
