//! Checksums of the files of a model.

use std::collections::BTreeMap;

/// Checksums by file name: SHA-256 in hexadecimal.
pub type Checksums = BTreeMap<String, String>;
