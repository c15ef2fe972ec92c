//! Finds out whether the repository carries a trained model to put into the program.

use std::path::Path;
use std::{env, fs};

/// The files of a model folder, `nextscale.json` first.
const FILES: [&str; 5] = [
    "nextscale.json",
    "tokenizer.json",
    "text.safetensors",
    "transformer.safetensors",
    "vae.safetensors",
];

fn main() -> std::io::Result<()> {
    let root = env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default();
    let folder = Path::new(&root).join("models").join("icons");
    println!("cargo::rerun-if-changed=build.rs");
    // The nearest folder that exists: so that the arrival of the others is noticed too.
    let watched = folder.ancestors().find(|f| f.is_dir()).unwrap_or(&folder);
    println!("cargo::rerun-if-changed={}", watched.display());
    let complete = FILES.iter().all(|name| folder.join(name).is_file());
    let value = match complete {
        true => {
            let include = |name: &&str| format!("include_bytes!({:?})", folder.join(name));
            let files: Vec<String> = FILES.iter().map(include).collect();
            format!("Some([{}])", files.join(", "))
        }
        false => "None".to_owned(),
    };
    let source = format!(
        "const EMBEDDED: Option<[&[u8]; {}]> = {value};\n",
        FILES.len()
    );
    let out = env::var_os("OUT_DIR").unwrap_or_default();
    fs::write(Path::new(&out).join("embedded.rs"), source)
}
