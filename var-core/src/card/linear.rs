//! Linear layers of rows.

use burn::backend::Dispatch;
use burn::tensor::{DType, Tensor};
use nextscale_tokenizer::card::product::{self, Finish};

use crate::card::ops::CardOps;
use crate::dtype::{cast, f32, value};
use crate::layers::{Linear, gelu as gelu_of};

/// The product of `x`, `[n, input]` in the type of the weights, with a layer's weights, without its bias.
pub fn product(x: Tensor<2>, layer: &Linear) -> Tensor<2> {
    let [input, output] = layer.weight.dims();
    if product::takes(input, output, x.dtype()) {
        return finished(x, layer, Finish::Plain);
    }
    let dtype = x.dtype();
    match &layer.int8 {
        Some(int8) => int8.product(x, dtype),
        None => x.matmul(layer.weight.val()),
    }
}

/// GELU of a layer of `x`, `[n, input]` in the type of the weights.
pub fn gelu(x: Tensor<2>, layer: &Linear) -> Tensor<2> {
    let ([input, output], dtype) = (layer.weight.dims(), x.dtype());
    match &layer.bias {
        Some(_) if product::takes(input, output, dtype) => finished(x, layer, Finish::Gelu),
        bias => {
            let hidden = f32(product(x, layer));
            let hidden = match bias {
                Some(bias) => hidden + value(bias).unsqueeze(),
                None => hidden,
            };
            cast(gelu_of(hidden), dtype)
        }
    }
}

/// `x w + bias` in f32 of `x`, `[n, input]` in f32, and a layer whose weights are 16-bit, multiplied in f16; none of
/// another layer.
pub(crate) fn in_f32(x: &Tensor<2>, layer: &Linear) -> Option<Tensor<2>> {
    let ([input, output], dtype) = (layer.weight.dims(), layer.weight.dtype());
    if layer.int8.is_some() || !product::takes(input, output, dtype) {
        return None;
    }
    let [x, weight] = [x.clone(), layer.weight.val()].map(|x| cast(x, DType::F16));
    let [x, weight] = [x, weight].map(Tensor::into_dispatch);
    let any = x.clone();
    let y = Dispatch::card_product(x, weight, any, Finish::Plain, DType::F32);
    let y = Tensor::from_dispatch(y);
    Some(match &layer.bias {
        Some(bias) => y + value(bias).unsqueeze(),
        None => y,
    })
}

/// The product of `x` with a layer's weights, finished with its bias if it has one.
fn finished(x: Tensor<2>, layer: &Linear, finish: Finish) -> Tensor<2> {
    let dtype = x.dtype();
    let x = x.into_dispatch();
    let bias = layer.bias.as_ref();
    let bias = bias.map_or_else(|| x.clone(), |bias| bias.val().into_dispatch());
    Tensor::from_dispatch(match &layer.int8 {
        None => Dispatch::card_product(x, layer.weight.val().into_dispatch(), bias, finish, dtype),
        Some(int8) => {
            let (values, factors) = int8.parts();
            let (values, factors) = (values.into_dispatch(), factors.into_dispatch());
            Dispatch::card_int8_product(x, values, factors, bias, finish, dtype)
        }
    })
}
