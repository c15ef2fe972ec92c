//! Finds out whether the repository carries trained models to put into the program.

use std::path::Path;
use std::{env, fs};

/// The files of a model folder, `nextscale.json` first.
const FILES: [&str; 7] = [
    "nextscale.json",
    "tokenizer.json",
    "words.txt",
    "neighbours.txt",
    "text.safetensors",
    "transformer.safetensors",
    "vae.safetensors",
];

/// Folders of models, and the constants that hold their files.
const MODELS: [(&str, &str); 3] = [
    ("icons", "EMBEDDED"),
    ("sprites", "EMBEDDED_VIDEO"),
    ("icons-edit", "EMBEDDED_EDITS"),
];

fn main() -> std::io::Result<()> {
    let root = env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default();
    let models = Path::new(&root);
    println!("cargo::rerun-if-changed=build.rs");
    // `none` leaves them out, for a program that is sent to a machine which has them.
    println!("cargo::rerun-if-env-changed=NEXTSCALE_EMBED");
    let none = env::var("NEXTSCALE_EMBED").is_ok_and(|value| value == "none");
    let mut source = String::new();
    for (name, constant) in MODELS {
        let folder = models.join(name);
        // The nearest folder that exists: so that the arrival of the others is noticed too.
        let watched = folder.ancestors().find(|f| f.is_dir()).unwrap_or(&folder);
        println!("cargo::rerun-if-changed={}", watched.display());
        let value = if none {
            "None".to_owned()
        } else {
            files(&folder)
        };
        let count = FILES.len();
        source += &format!("const {constant}: Option<[&[u8]; {count}]> = {value};\n");
    }
    let out = env::var_os("OUT_DIR").unwrap_or_default();
    fs::write(Path::new(&out).join("embedded.rs"), source)
}

/// The bytes of a model's files as Rust has to say it; a folder without some of them is an error.
fn files(folder: &Path) -> String {
    let missing = FILES.iter().filter(|name| !folder.join(name).is_file());
    let missing: Vec<&str> = missing.copied().collect();
    if !missing.is_empty() {
        if folder.is_dir() {
            println!(
                "cargo::error=`{}` lacks {}: put it there, or set NEXTSCALE_EMBED=none for a program without models",
                folder.display(),
                missing.join(", ")
            );
        }
        return "None".to_owned();
    }
    let include = |name: &&str| format!("include_bytes!({:?})", folder.join(name));
    let files: Vec<String> = FILES.iter().map(include).collect();
    format!("Some([{}])", files.join(", "))
}
