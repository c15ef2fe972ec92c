//! All scales at once without gradients: a card attends scale by scale, the CPU with a mask.

use burn::module::Param;
use burn::tensor::{DType, Device, Tensor};
use nextscale_bitwise::infinity::{Infinity, Plan as InfinityPlan, TextCondition};
use nextscale_tests::Report;
use nextscale_var_core::var::Plan as VarPlan;

use crate::card::models::twins;
use crate::card::{configs, off, random};

const DTYPES: [(DType, f32); 3] = [(DType::F32, 5e-3), (DType::BF16, 3e-2), (DType::F16, 5e-3)];

pub(super) fn check(report: &mut Report, card: &Device, cpu: &Device) {
    cpu.seed(14);
    var(report, card, cpu);
    infinity(report, card, cpu);
}

fn var(report: &mut Report, card: &Device, cpu: &Device) {
    let config = configs::var(2);
    let model = config.init(cpu);
    let inputs = random([2, 110, 4], cpu);
    for (dtype, bound) in DTYPES {
        let [here, there] = twins(model.clone(), dtype, card);
        let plan = |device: &Device| VarPlan::teacher_forcing(&config, device);
        let expected = here.forward(inputs.clone(), &[3, 5], &plan(cpu));
        let found = there.forward(inputs.clone().to_device(card), &[3, 5], &plan(card));
        let name = format!("var at once {dtype:?}");
        report.within(&name, off(found, expected), bound);
    }
}

fn infinity(report: &mut Report, card: &Device, cpu: &Device) {
    let (config, schedule) = (configs::infinity(2), configs::schedule());
    let mut model = config.init(cpu);
    for block in &mut model.blocks {
        let gains = random([1, 1, 6, 128], cpu) * 0.5;
        block.modulation = Param::from_tensor(gains);
    }
    let (features, inputs) = (random([2, 5, 128], cpu), random([2, 110, 8], cpu));
    for (dtype, bound) in DTYPES {
        let [here, there] = twins(model.clone(), dtype, card);
        let logits = |model: &Infinity, device: &Device| -> Tensor<3> {
            let text = TextCondition::new(features.clone().to_device(device), vec![5, 3]);
            let plan = InfinityPlan::teacher_forcing(&config, &schedule, schedule.last(), device);
            model.forward(inputs.clone().to_device(device), &text, &plan)
        };
        let (found, expected) = (logits(&there, card), logits(&here, cpu));
        let name = format!("infinity at once {dtype:?}");
        report.within(&name, off(found, expected), bound);
    }
}
