//! Parity of resizing, patches and schedules with PyTorch and the released tables, on the fixture `ops-dev` in the
//! folder that `NEXTSCALE_GOLDEN` names. Without that variable the tests pass without looking at anything.

use std::path::PathBuf;

use burn::{
    store::{ModuleStore, SafetensorsStore, bridge},
    tensor::{Device, Tensor, TensorData},
};
use nextscale_tokenizer::{
    Resize, Scale, patchify, resize,
    schedule::infinity::{PixelBudget, TEMPLATES},
    unpatchify,
};
use serde_json::Value;

/// Far below the 5e-5 that features may be off by: these are single operations.
const MOST: f32 = 5e-6;

struct Ops {
    store: SafetensorsStore,
    config: Value,
}

fn ops() -> Option<Ops> {
    let Some(root) = std::env::var_os("NEXTSCALE_GOLDEN") else {
        eprintln!("NEXTSCALE_GOLDEN is not set: nothing compared");
        return None;
    };
    let folder = PathBuf::from(root).join("ops-dev");
    let config = std::fs::read_to_string(folder.join("config.json")).unwrap();
    Some(Ops {
        store: SafetensorsStore::from_file(folder.join("io.safetensors")),
        config: serde_json::from_str(&config).unwrap(),
    })
}

impl Ops {
    /// A tensor of four or five dimensions, as five.
    fn read(&mut self, name: &str) -> Tensor<5> {
        let tensor = self.store.get_tensor(name).unwrap().expect(name);
        let data = bridge::to_data(tensor).unwrap();
        let mut shape = data.shape().to_vec();
        if shape.len() == 4 {
            shape.insert(2, 1);
        }
        let shape: [usize; 5] = shape.try_into().unwrap();
        let values: Vec<f32> = data.iter().collect();
        Tensor::from_data(TensorData::new(values, shape), &Device::flex())
    }

    fn check(&mut self, from: &str, to: &str, mode: Resize) {
        let (x, expected) = (self.read(from), self.read(to));
        let [_, _, t, h, w] = expected.dims();
        let off = resize(x, Scale::new(t, h, w), mode) - expected;
        let off: f32 = off.abs().max().into_scalar();
        assert!(off <= MOST, "{from} to {to}, {mode:?}: off by {off}");
    }
}

#[test]
fn resizing_is_pytorchs() {
    let Some(mut ops) = ops() else { return };
    for p in [1, 2, 3, 4, 5, 6, 8, 10, 13] {
        let up = format!("bicubic_{p}_to_16");
        ops.check(&format!("small_{p}"), &up, Resize::Bicubic);
        ops.check("full", &format!("area_16_to_{p}"), Resize::Area);
    }
    for ratio in ["r1p0", "r1p25"] {
        for k in 0..9 {
            let name = |what: &str| format!("{ratio}_{what}_{k}");
            let big = format!("{ratio}_big");
            ops.check(&name("small"), &name("trilinear_up"), Resize::Linear);
            ops.check(&big, &name("trilinear_down"), Resize::Linear);
            ops.check(&big, &name("area_down"), Resize::Area);
        }
    }
}

#[test]
fn patches_are_pixel_shuffles() {
    let Some(mut ops) = ops() else { return };
    let folded = patchify(ops.read("pu_in"));
    assert_eq!(folded.into_data(), ops.read("pixel_unshuffle2").into_data());
    let unfolded = unpatchify(ops.read("ps_in"));
    assert_eq!(unfolded.into_data(), ops.read("pixel_shuffle2").into_data());
}

#[test]
fn schedules_are_the_released_ones() {
    let Some(ops) = ops() else { return };
    let tables = ops.config["schedules"].as_object().unwrap();
    assert_eq!(tables.len(), TEMPLATES.len());
    for template in &TEMPLATES {
        let table = &tables[&format!("{:?}", template.ratio)];
        for budget in PixelBudget::ALL {
            let entry = &table[budget.name()];
            let pair = |v: &Value| {
                (
                    v[0].as_u64().unwrap() as usize,
                    v[1].as_u64().unwrap() as usize,
                )
            };
            assert_eq!(template.pixels(budget), pair(&entry["pixel"]));
            let expected = entry["hw"].as_array().unwrap().iter().map(pair);
            let schedule = template.schedule(budget);
            let ours = schedule.scales().iter().map(|s| (s.h, s.w));
            assert!(ours.eq(expected), "{} at {}", template.ratio, budget.name());
        }
    }
}
