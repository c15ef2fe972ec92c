//! The names and shapes that our importers expect, against those of the released checkpoints.
//!
//! `tests/keys` lists them as the official classes give them: name and shape, line by line.

use std::collections::BTreeMap;
use std::path::Path;

use nextscale_bitwise::import::infinity_keys;
use nextscale_bitwise::infinity::InfinityConfig;
use nextscale_bitwise::vae::{BsqVaeConfig, import::is_constant};
use nextscale_tokenizer::VqVaeConfig;
use nextscale_var_core::var::VarConfig;
use nextscale_var_core::var::var_keys;
use nextscale_video::vae::{InfinityStarVaeConfig, is_unused};

type Keys = BTreeMap<String, Vec<usize>>;

fn released(name: &str) -> Keys {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("keys")
        .join(name);
    let text = std::fs::read_to_string(path).unwrap();
    let line = |line: &str| {
        let (name, shape) = line.split_once('\t').unwrap();
        let sides = shape.split('x').map(|side| side.parse().unwrap());
        (name.to_owned(), sides.collect())
    };
    text.lines().map(line).collect()
}

fn numbers(keys: &Keys) -> usize {
    keys.values()
        .map(|shape| shape.iter().product::<usize>())
        .sum()
}

#[test]
fn infinity_transformers() {
    let (two, eight) = (InfinityConfig::infinity_2b(), InfinityConfig::infinity_8b());
    assert_eq!(infinity_keys(&two), released("infinity_2b.tsv"));
    assert_eq!(infinity_keys(&eight), released("infinity_8b.tsv"));
    assert_eq!(infinity_keys(&two).len(), 694);
    let other = InfinityConfig {
        width: 2080,
        heads: 20,
        ..two
    };
    assert_ne!(infinity_keys(&other), released("infinity_2b.tsv"));
}

#[test]
fn infinity_tokenizers() {
    for (config, file) in [
        (BsqVaeConfig::stride_16(16), "infinity_vae_d16.tsv"),
        (BsqVaeConfig::stride_16(32), "infinity_vae_d32.tsv"),
        (
            BsqVaeConfig::stride_8_patchify(),
            "infinity_vae_d14_f8_patchify.tsv",
        ),
    ] {
        let mut keys = released(file);
        let constants = keys.keys().filter(|name| is_constant(name)).count();
        assert_eq!(constants, 2, "{file}");
        keys.retain(|name, _| !is_constant(name));
        assert_eq!(config.keys(), keys, "{file}");
    }
    let d32 = numbers(&BsqVaeConfig::stride_16(32).keys());
    assert_eq!(d32, 110_118_051);
}

#[test]
fn var() {
    assert_eq!(
        var_keys(&VarConfig::released_256(16)),
        released("var_d16.tsv")
    );
    let mut keys = released("var_vae_ch160v4096z32.tsv");
    assert!(keys.remove("quantize.ema_vocab_hit_SV").is_some());
    assert_eq!(VqVaeConfig::released().keys(), keys);
}

#[test]
fn the_infinitystar_tokenizer() {
    let mut keys = released("infinitystar_videovae.tsv");
    keys.retain(|name, _| !is_unused(name));
    assert_eq!(InfinityStarVaeConfig::infinitystar().keys(), keys);
}
