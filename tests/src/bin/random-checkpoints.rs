//! Writes a released model with random weights in the official layout and at full size, with the published names, shapes, files
//! and shards. For measuring loading, memory and speed without the real weights.
//!
//! ```text
//! cargo build --workspace
//! target/debug/random-checkpoints infinity-8b models    # then: nextscale generate --model infinity-8b --models-dir models
//! ```
//!
//! All files are safetensors, and only one tensor at a time is in memory. With `--zeros` as the first argument all numbers are
//! zero and the files take no room on the disk: enough where nothing is computed, as on a driver that only counts.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use burn::tensor::bf16;
use nextscale_bitwise::import::infinity_keys;
use nextscale_bitwise::infinity::InfinityConfig;
use nextscale_bitwise::vae::BsqVaeConfig;
use nextscale_text::T5Config;
use nextscale_tokenizer::VqVaeConfig;
use nextscale_var_core::var::VarConfig;
use nextscale_var_core::var::var_keys;
use nextscale_video::infinity_star::infinity_star_keys;
use nextscale_video::{InfinityStarConfig, InfinityStarVaeConfig};

type Keys = BTreeMap<String, Vec<usize>>;
type Failed = Box<dyn std::error::Error>;

/// Largest shard in bytes, as in Hugging Face's tools.
const SHARD: usize = 5_000_000_000;

/// What a model is made of: file or folder, and the tensors in it.
fn parts(model: &str) -> Option<Vec<(&'static str, Keys)>> {
    Some(match model {
        "infinity-2b" => {
            let transformer = infinity_keys(&InfinityConfig::infinity_2b());
            let vae = BsqVaeConfig::stride_16(32).keys();
            vec![
                ("infinity_2b_reg.safetensors", transformer),
                ("infinity_vae_d32reg.safetensors", vae),
                text(),
            ]
        }
        "infinity-8b" => infinity_8b("infinity_8b_weights"),
        "varedit-8b-512" => infinity_8b("8B-512.safetensors"),
        "varedit-8b-1024" => infinity_8b("8B-1024.safetensors"),
        "infinitystar-8b-480p" => infinity_star("infinitystar_8b_480p_weights"),
        "infinitystar-8b-720p" => infinity_star("infinitystar_8b_720p_weights"),
        "var-d16" => var("var_d16.safetensors", 16),
        "var-d30" => var("var_d30.safetensors", 30),
        _ => return None,
    })
}

fn infinity_8b(transformer: &'static str) -> Vec<(&'static str, Keys)> {
    let vae = BsqVaeConfig::stride_8_patchify().keys();
    vec![
        (transformer, infinity_keys(&InfinityConfig::infinity_8b())),
        ("infinity_vae_d56_f8_14_patchify.safetensors", vae),
        text(),
    ]
}

fn text() -> (&'static str, Keys) {
    let keys = nextscale_text::import::keys(&T5Config::flan_t5_xl());
    ("flan-t5-xl", keys)
}

fn infinity_star(folder: &'static str) -> Vec<(&'static str, Keys)> {
    let transformer = infinity_star_keys(&InfinityStarConfig::infinitystar_8b());
    let vae = InfinityStarVaeConfig::infinitystar().keys();
    vec![
        (folder, transformer),
        ("infinitystar_videovae.safetensors", vae),
        text(),
    ]
}

fn var(file: &'static str, depth: usize) -> Vec<(&'static str, Keys)> {
    let transformer = var_keys(&VarConfig::released_256(depth));
    let vae = VqVaeConfig::released().keys();
    vec![(file, transformer), ("vae_ch160v4096z32.safetensors", vae)]
}

/// Random numbers of modest quality: xorshift.
struct Numbers {
    state: u64,
    normal: Vec<f32>,
}

impl Numbers {
    fn new() -> Self {
        let mut numbers = Self {
            state: 0x9e37_79b9_7f4a_7c15,
            normal: Vec::new(),
        };
        let mut uniform = || (numbers.next() >> 40) as f32 / (1u64 << 24) as f32;
        // The sum of twelve uniform numbers is nearly normal.
        let normal: Vec<f32> = (0..1 << 16)
            .map(|_| (0..12).map(|_| uniform()).sum::<f32>() - 6.0)
            .collect();
        numbers.normal = normal;
        numbers
    }

    fn next(&mut self) -> u64 {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        self.state
    }

    /// Weights in bf16 for a layer of that name: biases are 0, norms and factors are 1, and all others preserve the scale of
    /// their input.
    fn fill(&mut self, name: &str, shape: &[usize]) -> Vec<u8> {
        let count = shape.iter().product::<usize>();
        let fan_in = shape.iter().skip(1).product::<usize>().max(1);
        let constant = match shape.len() {
            0 | 1 if name.ends_with("bias") => Some(0.0),
            0 | 1 => Some(1.0),
            _ if name.ends_with("gamma") => Some(1.0),
            _ => None,
        };
        let table: Vec<[u8; 2]> = match constant {
            Some(value) => vec![bf16::from_f32(value).to_le_bytes()],
            None => {
                let scale = (fan_in as f32).sqrt().recip();
                let scaled = self.normal.iter().map(|x| bf16::from_f32(x * scale));
                scaled.map(bf16::to_le_bytes).collect()
            }
        };
        let mut bytes = Vec::with_capacity(2 * count);
        while bytes.len() < 2 * count {
            let mut four = self.next();
            for _ in 0..4 {
                bytes.extend(table[(four & 0xffff) as usize % table.len()]);
                four >>= 16;
            }
        }
        bytes.truncate(2 * count);
        bytes
    }
}

/// Writes tensors as one safetensors file; without numbers, all of them zero.
fn write(path: &Path, keys: &Keys, numbers: Option<&mut Numbers>) -> Result<(), Failed> {
    let mut header = serde_json::Map::new();
    let mut at = 0;
    for (name, shape) in keys {
        let end = at + 2 * shape.iter().product::<usize>();
        let info =
            serde_json::json!({ "dtype": "BF16", "shape": shape, "data_offsets": [at, end] });
        header.insert(name.clone(), info);
        at = end;
    }
    let mut header = serde_json::to_vec(&header)?;
    header.resize(header.len().next_multiple_of(8), b' ');
    let mut file = BufWriter::new(File::create(path)?);
    file.write_all(&(header.len() as u64).to_le_bytes())?;
    file.write_all(&header)?;
    if let Some(numbers) = numbers {
        // The order of the header: serde_json keeps the keys sorted, as the map here does.
        for (name, shape) in keys {
            file.write_all(&numbers.fill(name, shape))?;
        }
    }
    let file = file.into_inner()?;
    file.set_len((8 + header.len() + at) as u64)?;
    println!(
        "{}: {} tensors, {:.2} GB",
        path.display(),
        keys.len(),
        at as f64 / 1e9
    );
    Ok(())
}

/// Writes tensors as a folder of shards with an index.
fn write_shards(
    folder: &Path,
    keys: &Keys,
    mut numbers: Option<&mut Numbers>,
) -> Result<(), Failed> {
    std::fs::create_dir_all(folder)?;
    let (mut shards, mut size) = (vec![Keys::new()], 0);
    for (name, shape) in keys {
        let bytes = 2 * shape.iter().product::<usize>();
        if size + bytes > SHARD {
            shards.push(Keys::new());
            size = 0;
        }
        size += bytes;
        if let Some(last) = shards.last_mut() {
            last.insert(name.clone(), shape.clone());
        }
    }
    let mut map = serde_json::Map::new();
    for (i, shard) in shards.iter().enumerate() {
        let name = format!("model-{:05}-of-{:05}.safetensors", i + 1, shards.len());
        write(&folder.join(&name), shard, numbers.as_deref_mut())?;
        map.extend(shard.keys().map(|key| (key.clone(), name.clone().into())));
    }
    let index = serde_json::json!({ "metadata": {}, "weight_map": map });
    std::fs::write(
        folder.join("model.safetensors.index.json"),
        index.to_string(),
    )?;
    Ok(())
}

/// Writes what a text encoder's folder holds besides weights: its sizes and a vocabulary. The latter is that of the embedded
/// model, since we may not distribute the real one.
fn describe_text(folder: &Path) -> Result<(), Failed> {
    let own =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../pipelines/models/icons/tokenizer.json");
    std::fs::copy(own, folder.join("tokenizer.json"))?;
    let config = T5Config::flan_t5_xl().to_hf_json();
    std::fs::write(folder.join("config.json"), config)?;
    Ok(())
}

fn main() -> Result<(), Failed> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let (zeros, args) = match args.split_first() {
        Some((first, rest)) if first == "--zeros" => (true, rest),
        _ => (false, args.as_slice()),
    };
    let [model, folder] = args else {
        return Err("usage: random-checkpoints [--zeros] MODEL FOLDER".into());
    };
    let parts = parts(model).ok_or_else(|| format!("there is no model `{model}`"))?;
    let folder = PathBuf::from(folder);
    std::fs::create_dir_all(&folder)?;
    let mut numbers = (!zeros).then(Numbers::new);
    for (name, keys) in parts {
        let path = folder.join(name);
        if path.exists() {
            println!("{}: exists", path.display());
        } else if name.ends_with(".safetensors") {
            write(&path, &keys, numbers.as_mut())?;
        } else {
            write_shards(&path, &keys, numbers.as_mut())?;
            if name == "flan-t5-xl" {
                describe_text(&path)?;
            }
        }
    }
    Ok(())
}
