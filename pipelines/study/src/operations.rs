//! Floating point operations of an image, counted: 2 for each weight and token, 4 for each channel of a pair of query and key.

use nextscale_comparators::dit::DitConfig;
use nextscale_comparators::raster::{RasterCache, RasterConfig};
use nextscale_var_core::var::VarConfig;
use serde::{Deserialize, Serialize};

/// What an image costs without guidance.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Operations {
    /// Of the attention: products of queries with keys, and of their shares with values.
    pub attention: f64,
    /// Of everything with weights.
    pub linear: f64,
    /// Passes through the transformer.
    pub passes: usize,
}

impl Operations {
    /// All of them.
    pub fn total(&self) -> f64 {
        self.attention + self.linear
    }

    /// Those of VAR.
    pub fn var(config: &VarConfig) -> Self {
        let (c, depth) = (config.width as f64, config.depth as f64);
        // Attention has four matrices, the feed-forward layers eight.
        let per_token = 2.0 * (depth * 12.0 * c * c + c * config.vocabulary as f64);
        let mut all = Self {
            passes: config.schedule.len(),
            linear: 2.0 * depth * 6.0 * c * c, // gains, scales and shifts of the class
            ..Self::default()
        };
        let mut seen = 0.0;
        for scale in config.schedule.scales() {
            let tokens = scale.tokens() as f64;
            seen += tokens;
            all.linear += per_token * tokens;
            all.attention += attention(config.depth, config.width, tokens, seen);
        }
        all
    }

    /// Those of raster autoregression.
    pub fn raster(config: &RasterConfig, cache: RasterCache) -> Self {
        let (c, n) = (config.width as f64, config.tokens());
        let block = 4.0 * c * c + 3.0 * c * config.hidden() as f64;
        let per_token = 2.0 * config.depth as f64 * block;
        let mut all = Self {
            passes: n,
            linear: 2.0 * c * (config.vocabulary * n) as f64,
            ..Self::default()
        };
        for seen in 1..=n {
            let seen = seen as f64;
            let computed = match cache {
                RasterCache::Kept => 1.0,
                RasterCache::Recomputed => seen,
            };
            all.linear += per_token * computed;
            all.attention += attention(config.depth, config.width, computed, seen);
        }
        all
    }

    /// Those of so many steps of diffusion.
    pub fn dit(config: &DitConfig, steps: usize) -> Self {
        let (c, tokens) = (config.width as f64, config.tokens() as f64);
        let patch = (2 * config.channels * config.patch * config.patch) as f64;
        let blocks = config.depth as f64 * (12.0 * c * c * tokens + 6.0 * c * c);
        let step = Self {
            attention: attention(config.depth, config.width, tokens, tokens),
            linear: 2.0 * (blocks + c * patch * tokens),
            passes: 1,
        };
        Self {
            attention: step.attention * steps as f64,
            linear: step.linear * steps as f64,
            passes: steps,
        }
    }
}

/// Operations of attention from `queries` to `keys` in all blocks.
fn attention(depth: usize, width: usize, queries: f64, keys: f64) -> f64 {
    4.0 * depth as f64 * width as f64 * queries * keys
}
