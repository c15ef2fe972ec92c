//! What the descriptions of several architectures share.

use std::collections::BTreeMap;

use nextscale_text::T5Config;

use crate::error::Flaw;

/// Checksums of the files of a model by name: SHA-256 in hexadecimal.
pub type Checksums = BTreeMap<String, String>;

/// Refuses a text encoder whose features the transformer does not take.
pub(super) fn check_text(text: &T5Config, channels: usize) -> Result<(), Flaw> {
    if text.d_model == channels {
        return Ok(());
    }
    Err(Flaw::new(format!(
        "does not fit together: its text encoder gives {} channels, its transformer takes {channels}",
        text.d_model
    )))
}
