//! Reading a fixture: `config.json`, `weights.safetensors`, `io.safetensors`.

use std::path::{Path, PathBuf};

use burn::tensor::{Device, Int, Tensor};
use nextscale_bitwise::Bsq;
use nextscale_bitwise::import::load_infinity;
use nextscale_bitwise::infinity::{Infinity, InfinityConfig, Plan, TextCondition};
use nextscale_bitwise::tokens::Patching;
use nextscale_tokenizer::schedule::infinity::{PixelBudget, RatioTemplate};
use nextscale_tokenizer::{Codes, Scale, ScaleSchedule};
use nextscale_weights::WeightFile;
use serde_json::Value;

/// The fixtures of the transformer.
pub const NAMES: [&str; 2] = ["infinity-dev", "infinity-dev-b"];

/// The folder of fixtures, if there is one.
pub fn root() -> Option<PathBuf> {
    let root = std::env::var_os("NEXTSCALE_GOLDEN").map(PathBuf::from);
    if root.is_none() {
        eprintln!("NEXTSCALE_GOLDEN is not set: nothing compared");
    }
    root
}

/// One fixture, with its model.
pub struct Fixture {
    pub json: Value,
    pub config: InfinityConfig,
    pub model: Infinity,
    pub schedule: ScaleSchedule,
    io: WeightFile,
    device: Device,
}

impl Fixture {
    pub fn load(folder: &Path) -> Self {
        let device = Device::flex();
        let text = std::fs::read_to_string(folder.join("config.json")).unwrap();
        let json: Value = serde_json::from_str(&text).unwrap();
        let config = config(&json);
        let weights = folder.join("weights.safetensors");
        let model = load_infinity(&config, &weights, &device).unwrap();
        Self {
            schedule: schedule(&json["scale_schedule"]),
            io: WeightFile::open(&folder.join("io.safetensors")).unwrap(),
            json,
            config,
            model,
            device,
        }
    }

    /// A float tensor.
    pub fn float<const D: usize>(&self, name: &str) -> Tensor<D> {
        let data = self.io.read(name).unwrap();
        Tensor::from_data(data.convert::<f32>(), &self.device)
    }

    /// A tensor of whole numbers.
    pub fn int<const D: usize>(&self, name: &str) -> Tensor<D, Int> {
        let data = self.io.read(name).unwrap();
        Tensor::from_data(data.convert::<i32>(), &self.device)
    }

    /// The quantiser of the fixture's tokenizer.
    pub fn quantizer(&self) -> Bsq {
        Bsq::new(self.json["vae_codebook_dim"].as_u64().unwrap() as usize)
    }

    pub fn patching(&self) -> Patching {
        match self.json["apply_spatial_patchify"].as_u64() {
            Some(1) => Patching::Double,
            _ => Patching::Single,
        }
    }

    /// Bits in the tokenizer's layout `[b, t, h, w, d]` as codes.
    pub fn codes(&self, name: &str) -> Codes {
        Codes::Bits(self.int::<5>(name).permute([0, 4, 1, 2, 3]))
    }

    /// Whole numbers.
    pub fn ints(&self, name: &str) -> Vec<i64> {
        let data = self.io.read(name).unwrap();
        data.convert::<i64>().iter::<i64>().collect()
    }

    pub fn has(&self, name: &str) -> bool {
        self.io.shape(name).is_some()
    }

    /// The prompts under `prefix` (`text` or `neg`).
    pub fn text(&self, prefix: &str) -> TextCondition {
        let lens = self.ints(&format!("{prefix}_lens"));
        let lens: Vec<usize> = lens.iter().map(|&n| n as usize).collect();
        TextCondition::from_compact(self.float(&format!("{prefix}_features")), &lens)
    }

    /// The grid on which the released code measures positions.
    pub fn reference(&self) -> Scale {
        let ratio = self.json["h_div_w_template"].as_f64().unwrap();
        RatioTemplate::nearest(ratio)
            .schedule(PixelBudget::M1)
            .last()
    }

    pub fn teacher(&self) -> Plan {
        Plan::teacher_forcing(&self.config, &self.schedule, self.reference(), &self.device)
    }

    pub fn stepwise(&self) -> Plan {
        Plan::stepwise(&self.config, &self.schedule, self.reference(), &self.device)
    }

    /// The rows of a padded tensor that prompts fill, one behind the other.
    pub fn compact(&self, padded: Tensor<3>, lens: &[usize]) -> Tensor<2> {
        let [_, _, c] = padded.dims();
        let rows = lens.iter().enumerate().map(|(i, &len)| {
            let prompt = padded.clone().slice([i..i + 1, 0..len, 0..c]);
            prompt.reshape([len, c])
        });
        Tensor::cat(rows.collect(), 0)
    }
}

fn config(json: &Value) -> InfinityConfig {
    let number = |key: &str| json[key].as_u64().unwrap() as usize;
    let config = InfinityConfig {
        width: number("embed_dim"),
        depth: number("depth"),
        heads: number("num_heads"),
        code_dim: number("codebook_dim"),
        text_channels: number("text_channels"),
        text_max_len: number("text_maxlen"),
        mlp_ratio: json["mlp_ratio"].as_f64().unwrap(),
        block_chunks: number("block_chunks"),
        levels: number("lvl_embed_rows"),
    };
    assert_eq!(config.ffn_hidden(), number("ffn_hidden"));
    assert_eq!(config.pool_heads(), number("text_pool_heads"));
    config
}

pub fn schedule(json: &Value) -> ScaleSchedule {
    let scales = json.as_array().unwrap().iter().map(|scale| {
        let side = |i: usize| scale[i].as_u64().unwrap() as usize;
        Scale::new(side(0), side(1), side(2))
    });
    ScaleSchedule::new(scales.collect()).unwrap()
}

/// The largest difference, with a word on where it was measured.
pub fn close<const D: usize>(what: &str, ours: Tensor<D>, theirs: Tensor<D>, most: f32) {
    assert_eq!(ours.dims(), theirs.dims(), "{what}");
    let far: f32 = (ours - theirs).abs().max().into_scalar();
    eprintln!("{what}: {far:.2e}");
    assert!(far <= most, "{what}: off by {far}, at most {most}");
}
