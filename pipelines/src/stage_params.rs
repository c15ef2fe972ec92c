//! Parameters that know which stage they belong to.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::artifact::Pin;
use crate::error::PipelineError;
use crate::yaml::Node;

/// The parameters of a stage, for building a pipeline in Rust with [`Builder::add`](crate::spec::Builder::add).
pub trait StageParams: Serialize + DeserializeOwned {
    /// The name of the stage: the value of `stage:` in YAML.
    const STAGE: &'static str;

    /// What makes a pipeline generate one sample alone: its seed, and these parameters of the source `name`.
    ///
    /// # Errors
    /// Parameters that are not plain data.
    fn pins(&self, name: &str, seed: u64) -> Result<Vec<Pin>, PipelineError> {
        let mut source = Node::from_data(self, "record")?;
        source.set(&["stage"], Node::from_data(&Self::STAGE, "record")?)?;
        Ok(vec![
            (vec!["seed".to_owned()], Node::from_data(&seed, "record")?),
            (vec!["stages".to_owned(), name.to_owned()], source),
        ])
    }
}
