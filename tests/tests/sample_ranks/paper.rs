//! What ranks receive from each other for a video, by a formula that is checked by counting, and the table of docs/clusters.md that
//! follows from it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use nextscale_var_core::threads;
use nextscale_video::clips::Plan;
use nextscale_video::generate::GenerateOptions;
use nextscale_video::infinity_star::InfinityStarConfig;
use nextscale_video::preset::InfinityStarPreset;
use nextscale_video::templates::Template;

use crate::counting::Counting;
use crate::infinity_star::{Case, apg, config, plan};
use crate::run::on;

/// Ranks that generate a guided video: two halves of `shares` ranks each.
struct Ranks<'a> {
    config: &'a InfinityStarConfig,
    shares: usize,
}

impl Ranks<'_> {
    fn world(&self) -> usize {
        2 * self.shares
    }

    /// Numbers that a rank receives in the blocks of a pass of so many tokens: queries, keys and values before the attention, and
    /// what was attended to after it, of all but its own.
    fn in_blocks(&self, tokens: usize) -> usize {
        let config = self.config;
        let kv = config.kv_heads * config.head_dim();
        let own = tokens.div_ceil(self.shares);
        let all = own * (2 * config.width + 2 * kv);
        config.depth * (all / self.shares * (self.shares - 1))
    }

    /// Numbers that a rank receives of the logits of a guided pass: of other tokens, and of the other half.
    fn of_logits(&self, tokens: usize, bits: usize) -> usize {
        let own = tokens.div_ceil(self.shares);
        2 * bits * (own * (self.shares - 1) + tokens)
    }

    /// Numbers that a rank receives for a video of a prompt of so many tokens.
    fn received(&self, plan: &Plan, text: usize) -> usize {
        let pass = |tokens, kind| {
            let logits = self.of_logits(tokens, self.config.bits.of(kind));
            self.in_blocks(tokens) + logits
        };
        let passes = plan.passes();
        let all: usize = passes.map(|p| pass(p.scale.tokens(), p.kind)).sum();
        self.in_blocks(text) + all
    }
}

#[test]
fn ranks_receive_what_the_formula_says() {
    for shares in [1, 2, 4] {
        let expected = Ranks {
            config: &config(),
            shares,
        };
        let counts: Vec<_> = (0..expected.world())
            .map(|_| Arc::new(AtomicUsize::new(0)))
            .collect();
        let ranks = threads::connect(expected.world()).into_iter();
        let ranks = ranks
            .zip(&counts)
            .map(|(ranks, count)| Counting::over(ranks, Arc::clone(count)));
        let options = GenerateOptions::new(apg(), 1.0, 0.4);
        let case = Case::new(false);
        on(ranks.collect(), true, |ranks| {
            case.run(&options, false, ranks).len()
        });
        for count in counts {
            let received = count.load(Ordering::Relaxed);
            assert_eq!(received, expected.received(&plan(), 5), "{shares} a half");
        }
    }
}

/// Floating point operations of one row of a video: of the linear layers, and of the attention.
fn operations(config: &InfinityStarConfig, plan: &Plan, text: usize) -> f64 {
    let one = config.with_one_block().parameters();
    let block = (config.parameters() - one) / (config.depth - 1);
    let mut kept = text;
    let mut all = 0.0;
    for pass in plan.passes() {
        let l = pass.scale.tokens() as f64;
        let linear = 2.0 * block as f64 * l;
        let attention = 4.0 * l * (l + kept as f64) * config.width as f64;
        all += config.depth as f64 * (linear + attention);
        if pass.keep {
            kept = text + pass.scale.tokens();
        }
    }
    all
}

/// A card with tensor cores, as far as this table goes: operations and bytes a second. 400 TFLOP/s is what kernels for an H100
/// reach of its 989 in bf16; 300 GB/s is two thirds of what its NVLink moves in one direction.
const OPERATIONS: f64 = 400e12;
const BYTES: f64 = 300e9;

/// 720p, 5 seconds: 1 and 20 latent frames.
fn row(shares: usize) -> String {
    let preset = InfinityStarPreset::infinitystar_8b_720p();
    let template = Template::nearest(16.0 / 9.0);
    let plan = Plan::new(&preset.layout, template.grids(preset.size), 21).unwrap();
    let (config, text) = (&preset.config, 64);
    let cards = 2 * shares;
    let ranks = Ranks { config, shares };
    let gigabytes = 4.0 * ranks.received(&plan, text) as f64 / 1e9;
    let compute = operations(config, &plan, text) / shares as f64 / OPERATIONS;
    let traffic = gigabytes * 1e9 / BYTES;
    let kept = (plan.kept_tokens() + text) * config.kept_per_token() * 2 / shares;
    let largest = plan.largest_pass() * config.width * 4 / shares;
    format!(
        "| {cards} | {compute:.1} s | {gigabytes:.1} GB | {traffic:.2} s | {:.2} GB | {:.2} GB |",
        kept as f64 / 1e9,
        largest as f64 / 1e9,
    )
}

#[test]
fn the_table_follows_from_the_formula() {
    let page = include_str!("../../../docs/clusters.md");
    let rows = [1, 2, 4, 8].map(row).join("\n");
    assert!(page.contains(&rows), "docs/clusters.md lacks\n{rows}");
}
