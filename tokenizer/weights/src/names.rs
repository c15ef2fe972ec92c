//! Checkpoints whose tensors are those of the module under other names.

use std::collections::BTreeMap;
use std::path::Path;

use burn::module::Module;
use burn::store::ModuleSnapshot;
use burn::tensor::DType;

use crate::adapt::Layout;
use crate::dtype::WeightDtype;
use crate::error::WeightError;
use crate::export::Export;
use crate::file::WeightFile;
use crate::shapes::shapes;

/// The names of a module's parameters and those in its official weight files, in burn's layout.
#[derive(Debug, Clone, Copy)]
pub struct Names {
    /// Our name for an official one.
    pub ours: fn(&str) -> String,
    /// The official name for one of ours.
    pub official: fn(&str) -> String,
}

impl Names {
    /// Official names and shapes of the parameters of `module`.
    pub fn keys<M: Module>(&self, module: &M) -> BTreeMap<String, Vec<usize>> {
        let ours = shapes(module).into_iter();
        ours.map(|(name, shape)| ((self.official)(&name), shape))
            .collect()
    }

    /// Fills `module` with the tensors of `file`, as f32.
    ///
    /// # Errors
    /// As for [`WeightFile::apply`].
    pub fn fill<M: ModuleSnapshot>(
        &self,
        module: &mut M,
        file: WeightFile,
    ) -> Result<(), WeightError> {
        let file = file.renamed(self.ours).in_dtype(DType::F32);
        file.apply_as(module, Layout::Burn, self.official)
    }

    /// Writes `module` as safetensors under the official names. An existing file is replaced.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn save<M: ModuleSnapshot>(
        &self,
        module: &M,
        path: &Path,
        dtype: WeightDtype,
    ) -> Result<(), WeightError> {
        let mut export = Export::new(module, path, Layout::Burn, dtype);
        export.add_rest(self.official)?;
        export.write()
    }
}
