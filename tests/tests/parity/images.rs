//! Images of the embedded model without chance on another device, against those of the CPU in f32.

use std::sync::Arc;

use burn::tensor::Device;
use nextscale_models::device::{self, Dtype};
use nextscale_models::generator::{ImageGenerator, Request};
use nextscale_models::{DEFAULT, Model, ModelError, Placement};
use nextscale_tests::Report;

/// Compares one image in each number type; the bounds are on the mean and on the largest difference, in steps of 255.
pub(crate) fn check(report: &mut Report, device: &Device, bounds: &[(Dtype, f32, f32)]) {
    let Ok(model) = Model::open(DEFAULT).map(Arc::new) else {
        return report.skip("images", "no model is inside this program");
    };
    let request = Request::prompt("red apple").seed(7).temperature(0.0);
    let generate = |placement: &Placement| -> Result<Vec<u8>, ModelError> {
        let generator = ImageGenerator::load(&model, placement)?;
        Ok(generator.generate(&request)?.into_raw())
    };
    let expected = generate(&Placement::cpu()).expect("an image");
    for &(dtype, mean, largest) in bounds {
        let working = match device::dtype(dtype, device) {
            Ok(working) => working,
            Err(why) => {
                report.skip(&format!("image-{dtype:?}"), &format!("({why})"));
                continue;
            }
        };
        let placement = Placement {
            device: device.clone(),
            dtype: working,
            blocks: device::blocks(dtype),
        };
        let found = generate(&placement).expect("an image");
        assert_eq!(found.len(), expected.len());
        let both = found.iter().zip(&expected);
        let off: Vec<f32> = both.map(|(a, b)| f32::from(a.abs_diff(*b))).collect();
        let found = off.iter().sum::<f32>() / off.len() as f32;
        report.within(&format!("image {dtype:?}, mean"), found, mean);
        let found = off.into_iter().fold(0.0, f32::max);
        report.within(&format!("image {dtype:?}, largest"), found, largest);
    }
}
