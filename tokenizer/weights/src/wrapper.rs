//! Training checkpoints keep the model under a prefix of its own.

use crate::format::Tensors;

/// Prefixes that training checkpoints put in front of the model's own names.
const WRAPPERS: [&str; 6] = [
    "trainer.gpt_fsdp.",
    "trainer.var_wo_ddp.",
    "gpt_fsdp.",
    "state_dict.",
    "module.",
    "vae.",
];

/// The tensors under the first wrapper that holds any, without its prefix; all tensors if there is no wrapper.
pub(crate) fn unwrapped(tensors: Tensors) -> Tensors {
    let holds = |wrapper: &&&str| tensors.keys().any(|name| name.starts_with(**wrapper));
    let Some(wrapper) = WRAPPERS.iter().find(holds) else {
        return tensors;
    };
    let inner = tensors.into_iter().filter_map(|(name, mut tensor)| {
        let name = name.strip_prefix(wrapper)?.to_owned();
        tensor.name.clone_from(&name);
        Some((name, tensor))
    });
    inner.collect()
}

#[cfg(test)]
mod tests {
    use burn::store::{bridge, burn_pack::Tensor};
    use burn::tensor::TensorData;

    use super::*;

    fn tensor(name: &str) -> (String, Tensor) {
        let data = TensorData::new(vec![1.0f32], [1]);
        (
            name.to_owned(),
            bridge::from_data(data, name.to_owned(), None),
        )
    }

    #[test]
    fn training_checkpoints_are_unwrapped() {
        let names = [
            "trainer.gpt_fsdp.head.weight",
            "trainer.gpt_opt.state",
            "epoch",
        ];
        let inner = unwrapped(names.map(tensor).into());
        assert_eq!(inner.keys().collect::<Vec<_>>(), ["head.weight"]);
        assert_eq!(inner["head.weight"].name, "head.weight");
        let plain = ["head.weight", "head.bias"].map(tensor);
        assert_eq!(unwrapped(plain.into()).len(), 2);
    }
}
