//! docs/architecture.md against the tree, and the rules about who may import whom.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Each crate with the crates of this workspace that it may name, lowest first. `nextscale-tests` may name all.
const LAYERS: [(&str, &[&str]); 19] = [
    ("tokenizer/weights", &[]),
    ("tokenizer", &["weights"]),
    ("text", &["weights"]),
    ("var-core", &["weights", "tokenizer"]),
    ("bitwise", &["weights", "tokenizer", "var-core"]),
    ("video", &["weights", "tokenizer", "var-core", "bitwise"]),
    ("pipelines/files", &[]),
    ("pipelines/data", &["files"]),
    ("pipelines/models", &["files", MODELS]),
    ("pipelines/curves", &["files"]),
    (
        "pipelines/comparators",
        &["weights", "tokenizer", "var-core"],
    ),
    ("pipelines/distributed", &["tokenizer", "var-core"]),
    ("pipelines/metrics", &["files", MODELS]),
    (
        "pipelines/train",
        &[
            "files",
            "data",
            "curves",
            "comparators",
            "models",
            "distributed",
            "metrics",
            MODELS,
        ],
    ),
    ("pipelines", &["files", "models", MODELS]),
    (
        "pipelines/eval",
        &[
            "files",
            "data",
            "models",
            "metrics",
            "train",
            "pipelines",
            MODELS,
        ],
    ),
    (
        "pipelines/study",
        &[
            "files",
            "curves",
            "data",
            "models",
            "metrics",
            "comparators",
            "train",
            MODELS,
        ],
    ),
    ("pipelines/serve", &["files", "models", "pipelines"]),
    (
        "pipelines/cli",
        &[
            "files",
            "data",
            "curves",
            "distributed",
            "models",
            "metrics",
            "train",
            "pipelines",
            "eval",
            "study",
            "serve",
            MODELS,
        ],
    ),
];

/// Stands for the crates outside `pipelines/`.
const MODELS: &str = "model crates";
const MODEL_CRATES: [&str; 6] = [
    "weights",
    "tokenizer",
    "text",
    "var-core",
    "bitwise",
    "video",
];

/// Crates that use `anyhow`. Only the command should: libraries return typed errors.
const WITH_ANYHOW: [&str; 1] = ["pipelines/cli"];

/// Crates in which no module imports what its parent defines or re-exports.
const WITHOUT_CIRCLES: [&str; 17] = [
    "tokenizer/weights",
    "tokenizer",
    "text",
    "var-core",
    "pipelines/files",
    "pipelines/data",
    "pipelines/curves",
    "pipelines/distributed",
    "pipelines/metrics",
    "pipelines/train",
    "pipelines",
    "pipelines/cli",
    "pipelines/serve",
    "pipelines/models",
    "pipelines/eval",
    "bitwise",
    "video",
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// Files and folders of a folder, by name.
fn entries(folder: &Path) -> BTreeMap<String, PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    let name = |path: &Path| path.file_name().unwrap().to_str().unwrap().to_owned();
    paths.map(|path| (name(&path), path)).collect()
}

/// All source files under a folder.
fn sources(folder: &Path) -> Vec<PathBuf> {
    let all = entries(folder).into_values();
    let files = all.flat_map(|path| {
        if path.is_dir() {
            sources(&path)
        } else {
            vec![path]
        }
    });
    files
        .filter(|path| path.extension().is_some_and(|e| e == "rs"))
        .collect()
}

/// The modules in a folder of sources, by name, with the files that describe them.
fn modules(folder: &Path) -> BTreeMap<String, PathBuf> {
    let mut modules = BTreeMap::new();
    for (name, path) in entries(folder) {
        if path.join("mod.rs").is_file() {
            modules.insert(name, path.join("mod.rs"));
        } else if let Some(name) = name.strip_suffix(".rs")
            && !["lib", "main", "mod", "tests"].contains(&name)
        {
            modules.insert(name.to_owned(), path);
        }
    }
    modules
}

/// The first sentence of a file's own documentation.
fn caption(file: &Path) -> String {
    let text = read(file);
    let lines = text.lines().map_while(|line| line.strip_prefix("//!"));
    let lines = lines.map(str::trim).take_while(|line| !line.is_empty());
    let text = lines.collect::<Vec<_>>().join(" ");
    let end = text.find(". ").map_or(text.len(), |at| at + 1);
    let caption = text[..end].trim_end_matches(['.', ':']).replace('|', "\\|");
    assert!(
        !caption.is_empty(),
        "{} says nothing about itself",
        file.display()
    );
    caption
}

/// The table of a crate's modules, those of folders in brackets.
fn table(crate_folder: &str) -> String {
    let source = root().join(crate_folder).join("src");
    let mut text = format!("### `{crate_folder}`\n\n| module | holds |\n|---|---|\n");
    for (name, file) in modules(&source) {
        let folder = source.join(&name);
        let inner = if folder.is_dir() {
            let names: Vec<String> = modules(&folder).into_keys().collect();
            format!(" ({})", names.join(", "))
        } else {
            String::new()
        };
        text += &format!("| `{name}` | {}{inner} |\n", caption(&file));
    }
    text
}

#[test]
fn the_tables_of_modules_are_the_tree() {
    const MARKS: [&str; 2] = ["<!-- modules -->\n", "<!-- end of modules -->"];
    let path = root().join("docs/architecture.md");
    let page = read(&path);
    let (before, rest) = page.split_once(MARKS[0]).expect("the first mark");
    let (_, after) = rest.split_once(MARKS[1]).expect("the second mark");
    let tables: Vec<String> = LAYERS.iter().map(|(name, _)| table(name)).collect();
    let made = format!(
        "{before}{}\n{}\n{}{after}",
        MARKS[0],
        tables.join("\n"),
        MARKS[1]
    );
    if std::env::var_os("NEXTSCALE_UPDATE_DOCS").is_some() {
        std::fs::write(&path, &made).unwrap();
    }
    assert!(
        read(&path) == made,
        "docs/architecture.md is not the tree: run `NEXTSCALE_UPDATE_DOCS=1 cargo test --workspace --test architecture`"
    );
}

/// The names in one section of a manifest.
fn dependencies(crate_folder: &str) -> Vec<String> {
    let manifest = read(&root().join(crate_folder).join("Cargo.toml"));
    let mut section = "";
    let mut names = Vec::new();
    for line in manifest.lines() {
        if line.starts_with('[') {
            section = line;
        } else if section.ends_with("dependencies]") && !section.contains("dev-") {
            let name = line.split(['.', ' ', '=']).next().unwrap_or_default();
            names.push(name.to_owned());
        }
    }
    names
}

#[test]
fn dependencies_point_downwards() {
    for (name, allowed) in LAYERS {
        for dependency in dependencies(name) {
            let Some(ours) = dependency.strip_prefix("nextscale-") else {
                assert!(
                    dependency != "anyhow" || WITH_ANYHOW.contains(&name),
                    "{name} depends on anyhow: libraries return typed errors"
                );
                continue;
            };
            let models = allowed.contains(&MODELS) && MODEL_CRATES.contains(&ours);
            assert!(
                models || allowed.contains(&ours),
                "{name} must not depend on {ours}"
            );
        }
    }
}

#[test]
fn every_crate_has_a_layer() {
    let manifest = read(&root().join("Cargo.toml"));
    let line = manifest
        .lines()
        .find(|line| line.starts_with("members = "))
        .unwrap();
    let mut members: Vec<&str> = line.split('"').skip(1).step_by(2).collect();
    let mut known: Vec<&str> = LAYERS.iter().map(|(name, _)| *name).collect();
    known.push("tests");
    members.sort_unstable();
    known.sort_unstable();
    assert_eq!(members, known);
}

/// What the `use` lines of a file bring in from its parent or from the root of the crate, and which of the two.
fn from_above(text: &str) -> Vec<(&str, &str)> {
    let code = text.split("#[cfg(test)]").next().unwrap_or_default();
    let mut found = Vec::new();
    for statement in code.split(';') {
        let Some(at) = statement.rfind("use ") else {
            continue;
        };
        let path = statement[at + "use ".len()..].trim();
        let Some((from, items)) = path.split_once("::") else {
            continue;
        };
        if !["super", "crate"].contains(&from) {
            continue;
        }
        let items = items
            .strip_prefix('{')
            .and_then(|items| items.strip_suffix('}'))
            .unwrap_or(items);
        found.extend(split(items).into_iter().map(|item| (from, item)));
    }
    found
}

/// A list of items at its outer commas.
fn split(items: &str) -> Vec<&str> {
    let (mut depth, mut start, mut list) = (0, 0, Vec::new());
    for (at, letter) in items.char_indices() {
        match letter {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                list.push(items[start..at].trim());
                start = at + 1;
            }
            _ => {}
        }
    }
    list.push(items[start..].trim());
    list.retain(|item| !item.is_empty());
    list
}

#[test]
fn no_module_imports_what_its_parent_re_exports() {
    for name in WITHOUT_CIRCLES {
        let source = root().join(name).join("src");
        for file in sources(&source) {
            let stem = file.file_stem().unwrap().to_str().unwrap();
            if ["lib", "main", "tests"].contains(&stem) {
                continue;
            }
            let folder = file.parent().unwrap();
            let parent = if stem == "mod" {
                folder.parent().unwrap()
            } else {
                folder
            };
            let text = read(&file);
            for (from, item) in from_above(&text) {
                let first = item.split("::").next().unwrap();
                let siblings = modules(if from == "super" { parent } else { &source });
                let own = folder.join(stem).join(format!("{first}.rs")); // from a module inside the file
                assert!(
                    first == "super" || siblings.contains_key(first) || own.is_file(),
                    "{}: `{from}::{item}` comes from the parent: name the module that defines it",
                    file.display()
                );
            }
        }
    }
}

#[test]
fn use_lines_are_taken_apart() {
    let text =
        "use super::{A, b::{C, D}, e};\npub(crate) use crate::F;\nuse std::fmt;\nfn x() {}\n";
    let parts = [
        ("super", "A"),
        ("super", "b::{C, D}"),
        ("super", "e"),
        ("crate", "F"),
    ];
    assert_eq!(from_above(text), parts);
}
