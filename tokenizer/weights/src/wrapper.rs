//! Training checkpoints keep the model under prefixes of their own, next to its average and the state of the optimiser.

use crate::format::Tensors;

/// Which weights of a training checkpoint are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Choice {
    /// The model as it was trained last.
    #[default]
    Model,
    /// Its exponential moving average (EMA).
    Ema,
}

/// What compilers and sharding put in front of names, anywhere in them.
const ANYWHERE: [&str; 3] = [
    "_orig_mod.",
    "_fsdp_wrapped_module.",
    "_checkpoint_wrapped_module.",
];

/// Prefixes under which training checkpoints keep the model.
const MODEL: [&str; 8] = [
    "trainer.gpt_fsdp.",
    "trainer.var_wo_ddp.",
    "gpt_fsdp.",
    "state_dict.",
    "model_state_dict.",
    "module.",
    "model.",
    "vae.",
];

/// Prefixes under which they keep its average.
const EMA: [&str; 7] = [
    "trainer.gpt_ema_fsdp.",
    "trainer.var_ema.",
    "gpt_ema_fsdp.",
    "model_ema.",
    "ema_model.",
    "ema_state_dict.",
    "ema.",
];

/// The tensors of the model, without prefixes, and whether the file also holds the other choice.
pub(crate) fn unwrapped(tensors: Tensors, choice: Choice) -> (Tensors, bool) {
    let mut tensors = renamed(tensors, |name| Some(without_insertions(name)));
    let mut has_other = false;
    loop {
        let held = |prefixes: &[&'static str]| {
            let holds =
                |prefix: &&&'static str| tensors.keys().any(|name| name.starts_with(**prefix));
            prefixes.iter().find(holds).copied()
        };
        let (model, ema) = (held(&MODEL), held(&EMA));
        let is_plain = ema.is_some() && model.is_none() && tensors.keys().any(|name| !is_ema(name));
        has_other |= ema.is_some() && (model.is_some() || is_plain);
        let taken = match choice {
            Choice::Model if is_plain => {
                // The model's own names next to an average.
                tensors.retain(|name, _| !is_ema(name));
                return (tensors, has_other);
            }
            Choice::Model => model.or(ema),
            Choice::Ema => ema.or(model),
        };
        let Some(prefix) = taken else {
            return (tensors, has_other);
        };
        tensors = renamed(tensors, |name| name.strip_prefix(prefix).map(str::to_owned));
    }
}

fn is_ema(name: &str) -> bool {
    EMA.iter().any(|prefix| name.starts_with(prefix))
}

fn without_insertions(name: &str) -> String {
    ANYWHERE
        .iter()
        .fold(name.to_owned(), |name, inserted| name.replace(inserted, ""))
}

/// The tensors under their new names, those without one left out.
fn renamed(tensors: Tensors, rename: impl Fn(&str) -> Option<String>) -> Tensors {
    let all = tensors.into_iter().filter_map(|(name, mut tensor)| {
        let name = rename(&name)?;
        tensor.name.clone_from(&name);
        Some((name, tensor))
    });
    all.collect()
}

#[cfg(test)]
mod tests {
    use burn::store::{bridge, burn_pack::Tensor};
    use burn::tensor::TensorData;

    use super::*;

    fn tensor(name: &str) -> (String, Tensor) {
        let data = TensorData::new(vec![1.0f32], [1]);
        let tensor = bridge::from_data(data, name.to_owned(), None);
        (name.to_owned(), tensor)
    }

    fn names(of: &[&str], choice: Choice) -> (Vec<String>, bool) {
        let tensors = of.iter().map(|name| tensor(name)).collect();
        let (inner, has_other) = unwrapped(tensors, choice);
        assert!(inner.iter().all(|(name, tensor)| *name == tensor.name));
        (inner.into_keys().collect(), has_other)
    }

    #[test]
    fn prefixes_are_stripped_however_many_there_are() {
        let model = |of: &[&str]| names(of, Choice::Model).0;
        for name in [
            "a.b",
            "module.a.b",
            "_orig_mod.a.b",
            "module._orig_mod.a.b",
            "_orig_mod.module.a.b",
            "state_dict.module.a.b",
            "model.a.b",
            "ema.a.b",
            "model_ema.module.a.b",
            "_fsdp_wrapped_module.a._fsdp_wrapped_module.b",
            "model.a._orig_mod.b",
            "trainer.gpt_fsdp.a.b",
            "trainer.var_wo_ddp._orig_mod.a.b",
        ] {
            assert_eq!(model(&[name]), ["a.b"], "{name}");
        }
        let with_state = [
            "trainer.gpt_fsdp.head.weight",
            "trainer.gpt_opt.state",
            "epoch",
        ];
        assert_eq!(model(&with_state), ["head.weight"]);
        // `module` is a name of Infinity's own inside a block.
        let inside = ["block_chunks.0.module.3.ada_gss"];
        assert_eq!(model(&inside), inside);
    }

    #[test]
    fn the_model_or_its_average_is_taken() {
        let both = ["model.a", "model_ema.b", "optimizer.c"];
        assert_eq!(names(&both, Choice::Model), (vec!["a".to_owned()], true));
        assert_eq!(names(&both, Choice::Ema), (vec!["b".to_owned()], true));
        let beside = ["a", "ema.b"];
        assert_eq!(names(&beside, Choice::Model), (vec!["a".to_owned()], true));
        assert_eq!(names(&beside, Choice::Ema), (vec!["b".to_owned()], true));
        let alone = ["module.a"];
        assert_eq!(names(&alone, Choice::Ema), (vec!["a".to_owned()], false));
    }
}
