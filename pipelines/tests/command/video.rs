//! Videos from the command line, on a tiny model with random weights.

use nextscale_pipelines::bundle::{Model, StarBundle};

use crate::tiny;

#[test]
fn a_folder_of_a_video_model_opens() {
    let folder = tiny::video_model().to_str().unwrap();
    let model = Model::open(folder).unwrap();
    assert_eq!(model.name(), folder);
    let bundle = StarBundle::open(folder).unwrap();
    let device = burn::tensor::Device::flex();
    bundle.text_encoder(&device).unwrap();
    bundle.vae(&device).unwrap();
    let dtype = burn::tensor::FloatDType::F32;
    let star = bundle.transformer(&device, dtype).unwrap();
    assert_eq!(star.channels(), 8);
    assert!(bundle.fingerprint().is_some());
}
