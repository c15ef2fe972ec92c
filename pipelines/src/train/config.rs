//! Reading a training configuration.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, anyhow};
use serde::de::DeserializeOwned;

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
