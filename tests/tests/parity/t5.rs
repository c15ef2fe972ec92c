//! The T5 encoder.

use std::path::Path;

use burn::tensor::{Bool, Tensor};
use nextscale_tests::{Fixture, Report, Stored};
use nextscale_text::encoder::encode_tokens;
use nextscale_text::import;
use nextscale_text::t5::relative_bucket;
use nextscale_text::{T5Config, T5Encoder, TokenBatch};
use nextscale_weights::WeightDtype;

use crate::weights::{check_resaved, check_twin, official};

pub fn check(f: &Fixture, report: &mut Report) {
    let config = f.config["hf_config"].to_string();
    let config = T5Config::from_hf_json(&config, f.dir.join("config.json")).expect("a T5 encoder");
    let load = |path: &Path| {
        let mut t5 = config.init(&f.device);
        import::load(&mut t5, path).unwrap_or_else(|e| panic!("{e}"));
        t5
    };
    let t5 = load(&official(f));
    report.part("features", |report| features(f, &t5, report));
    report.part("bucket_index", |report| buckets(f, &config, report));
    check_twin(f, &t5, load, report);
    let save = |path: &Path| import::save(&t5, path, WeightDtype::F32);
    let alias = |key: &str| key == "encoder.embed_tokens.weight";
    check_resaved(f, save, alias, report);
}

fn features(f: &Fixture, t5: &T5Encoder, report: &mut Report) {
    let ids = f.int::<2>("input_ids");
    let valid: Tensor<2, Bool> = f.int::<2>("attention_mask").equal_elem(1);
    let stages = t5.stages(ids, valid);
    report.close(f, "embedding", stages[0].clone(), 0.0);
    for name in f.names("after_block_") {
        let block: usize = name["after_block_".len()..].parse().expect("a block");
        report.close(f, name, stages[block + 1].clone(), 5e-5);
    }
    report.close(
        f,
        "last_hidden_state",
        stages[stages.len() - 1].clone(),
        5e-5,
    );

    let (ids, lens) = (f.stored("input_ids"), f.sizes("lens"));
    let batch = TokenBatch {
        ids: ids.values.iter().map(|&id| id as u32).collect(),
        rows: ids.dims[0],
        width: ids.dims[1],
        untruncated: lens.clone(),
        lens,
    };
    let features = encode_tokens(t5, &batch);
    let [_, _, c] = features.features.dims();
    let rows = features.lens.iter().enumerate().map(|(row, &len)| {
        let prompt = features
            .features
            .clone()
            .slice([row..row + 1, 0..len, 0..c]);
        prompt.reshape([len, c])
    });
    report.close(f, "kv_compact", Tensor::cat(rows.collect(), 0), 5e-5);
}

fn buckets(f: &Fixture, config: &T5Config, report: &mut Report) {
    let distances = f.stored("bucket_rel_pos");
    let bucket = |&distance: &f64| {
        let buckets = config.relative_attention_num_buckets;
        let max = config.relative_attention_max_distance;
        relative_bucket(distance as i64, buckets, max) as f64
    };
    let ours = Stored {
        dims: distances.dims.clone(),
        values: distances.values.iter().map(bucket).collect(),
    };
    report.numbers("bucket_index", &ours, f.stored("bucket_index"), 0.0);
}
