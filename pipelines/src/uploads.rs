//! Files that a pipeline names without a path: `upload:NAME` stands for a file in a folder that only the program knows, and
//! `adapter:NAME` for one of its low-rank adapters.

use std::path::{Path, PathBuf};

use nextscale_files::path_text;

use crate::error::{Diagnostic, PipelineError};
use crate::untrusted::FILES;
use crate::yaml::{Node, Value};

/// What the name of an upload begins with.
pub(crate) const UPLOAD: &str = "upload:";

/// What the name of an adapter begins with.
pub(crate) const ADAPTER: &str = "adapter:";

/// The folder of uploads, and the adapters that pipelines may name.
#[derive(Debug, Clone)]
pub struct Uploads {
    folder: PathBuf,
    adapters: Vec<(String, PathBuf)>,
}

impl Uploads {
    /// The files of a folder.
    pub fn in_folder(folder: impl Into<PathBuf>) -> Self {
        Self {
            folder: folder.into(),
            adapters: vec![],
        }
    }

    /// The same with adapters: names without `adapter:`, and files.
    #[must_use]
    pub fn with_adapters(self, adapters: Vec<(String, PathBuf)>) -> Self {
        Self { adapters, ..self }
    }

    /// The name in a pipeline of the adapter `name`.
    pub fn adapter_name(name: &str) -> String {
        format!("{ADAPTER}{name}")
    }

    /// The file that `adapter:NAME` stands for.
    fn find_adapter(&self, name: &str) -> Option<&Path> {
        let name = name.strip_prefix(ADAPTER)?;
        let found = self.adapters.iter().find(|(own, _)| own == name);
        found.map(|(_, path)| path.as_path())
    }

    /// The name in a pipeline of the file `name`.
    pub fn name_of(name: &str) -> String {
        format!("{UPLOAD}{name}")
    }

    /// The file that `upload:NAME` stands for, if it is there. A name has letters and digits only.
    pub fn find(&self, upload: &str) -> Option<PathBuf> {
        let name = upload.strip_prefix(UPLOAD)?;
        let path = self.folder.join(name);
        (is_plain(name) && path.is_file()).then_some(path)
    }

    /// Puts paths where stages name uploads, and where the pipeline names adapters.
    ///
    /// # Errors
    /// An upload or an adapter that is not there, at its place.
    pub fn resolve(&self, root: &mut Node) -> Result<(), PipelineError> {
        let mut missing = vec![];
        for_each_file(root, &mut |node| {
            let Some(name) = node.as_str().filter(|name| name.starts_with(UPLOAD)) else {
                return;
            };
            match self.find(name) {
                Some(path) => node.value = Value::Str(path_text::to_text(&path)),
                None => {
                    let message = format!("there is no `{name}`");
                    let hint = "upload the file first";
                    missing.push(Diagnostic::new(&node.mark, message).hint(hint));
                }
            }
        });
        for_each_adapter(root, &mut |node| {
            let Some(name) = node.as_str().filter(|name| name.starts_with(ADAPTER)) else {
                return;
            };
            match self.find_adapter(name) {
                Some(path) => node.value = Value::Str(path_text::to_text(path)),
                None => {
                    let known = self.adapters.iter().map(|(name, _)| name.as_str());
                    let known = known.collect::<Vec<_>>().join(", ");
                    let name = name.trim_start_matches(ADAPTER);
                    let message = format!("there is no adapter `{name}`; adapters here: {known}");
                    missing.push(Diagnostic::new(&node.mark, message));
                }
            }
        });
        if missing.is_empty() {
            return Ok(());
        }
        Err(PipelineError::Invalid(missing))
    }

    /// The files that a pipeline names, without `upload:`.
    pub fn named(&self, root: &Node) -> Vec<String> {
        let mut names = vec![];
        for_each_file(&mut root.clone(), &mut |node| {
            let name = node.as_str().and_then(|name| name.strip_prefix(UPLOAD));
            names.extend(name.filter(|name| is_plain(name)).map(str::to_owned));
        });
        names
    }

    /// Puts names where stages have paths of uploads, and where the pipeline has those of adapters.
    pub(crate) fn name(&self, root: &mut Node) {
        for_each_adapter(root, &mut |node| {
            let path = node.as_str().map(path_text::to_path);
            let own = self.adapters.iter();
            let mut own = own.filter(|(_, own)| path.as_deref() == Some(own));
            if let Some((name, _)) = own.next() {
                node.value = Value::Str(Self::adapter_name(name));
            }
        });
        for_each_file(root, &mut |node| {
            let path = node.as_str().map(path_text::to_path);
            let name = path.as_deref().and_then(|path| self.file_in(path));
            if let Some(name) = name {
                node.value = Value::Str(name);
            }
        });
    }

    fn file_in(&self, path: &Path) -> Option<String> {
        let name = path.strip_prefix(&self.folder).ok()?.to_str()?;
        Some(Self::name_of(name))
    }
}

/// Whether a name is only that, and no path.
fn is_plain(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric())
}

/// Every file of an adapter.
fn for_each_adapter(root: &mut Node, change: &mut dyn FnMut(&mut Node)) {
    let Some(list) = root.get_mut("lora") else {
        return;
    };
    for item in list.items_mut() {
        match item.get_mut("file") {
            Some(file) => change(file),
            None => change(item),
        }
    }
}

/// Every value of a stage that names a file to read.
fn for_each_file(root: &mut Node, change: &mut dyn FnMut(&mut Node)) {
    if let Some(stages) = root.get_mut("stages") {
        for stage in stages.entries_mut() {
            within(&mut stage.node, change);
        }
    }
}

fn within(node: &mut Node, change: &mut dyn FnMut(&mut Node)) {
    for entry in node.entries_mut() {
        if FILES.contains(&entry.key.as_str()) && entry.node.as_str().is_some() {
            change(&mut entry.node);
        } else if entry.key != "from" {
            within(&mut entry.node, change);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn adapters_are_named_too() {
        let own = vec![("ink".to_owned(), PathBuf::from("/a/ink.safetensors"))];
        let uploads = Uploads::in_folder("none").with_adapters(own);
        let yaml = "lora:\n  - {file: adapter:ink, weight: 0.5}\nstages:\n  a: {stage: save}\n";
        let mut root = Node::parse(yaml, "x").unwrap();
        uploads.resolve(&mut root).unwrap();
        assert!(
            root.to_yaml().contains("/a/ink.safetensors"),
            "{}",
            root.to_yaml()
        );
        uploads.name(&mut root);
        assert!(root.to_yaml().contains("adapter:ink"), "{}", root.to_yaml());
        let mut root = Node::parse(&yaml.replace("ink", "oil"), "x").unwrap();
        let error = uploads.resolve(&mut root).unwrap_err().to_string();
        assert!(
            error.contains("no adapter `oil`; adapters here: ink"),
            "{error}"
        );
    }

    #[test]
    fn names_become_paths_and_names_again() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("ab12"), "x").unwrap();
        let uploads = Uploads::in_folder(folder.path());
        let yaml = |name: &str| {
            format!("stages:\n  a: {{stage: b, edit: {{image: '{name}'}}, prompts: ['{name}']}}")
        };
        let mut root = Node::parse(&yaml("upload:ab12"), "x").unwrap();
        let written = root.to_yaml();
        assert_eq!(uploads.named(&root), ["ab12"]);
        uploads.resolve(&mut root).unwrap();
        let path = folder.path().join("ab12");
        assert!(root.to_yaml().contains(&path.display().to_string()));
        uploads.name(&mut root);
        assert_eq!(root.to_yaml(), written);
        for bad in ["upload:", "upload:cd", "upload:../x", "upload:/etc/passwd"] {
            let mut root = Node::parse(&yaml(bad), "x").unwrap();
            assert!(uploads.named(&root).iter().all(|name| name == "cd"));
            let error = uploads.resolve(&mut root).unwrap_err().to_string();
            assert!(error.contains(&format!("there is no `{bad}`")), "{error}");
        }
    }
}
