//! Parameters that know which stage they belong to.

use serde::Serialize;
use serde::de::DeserializeOwned;

/// The parameters of a stage, for building a pipeline in Rust with [`Builder::add`](crate::spec::Builder::add).
pub trait StageParams: Serialize + DeserializeOwned {
    /// The name of the stage: the value of `stage:` in YAML.
    const STAGE: &'static str;
}
