//! The kernels as operations of the tensor library, so that they take their place among its own.

use burn::backend::fusion::custom::TensorSpec;
use burn::backend::tensor::{BoolTensor, FloatTensor, IntTensor};
use burn::backend::{Backend, backend_extension};
use burn::tensor::{DType, Shape};
use burn_cubecl::CubeBackend;

use crate::card::attention::Keys;
use crate::card::heads::With;
use crate::card::{attention, heads, place, rows, sample};
use nextscale_tokenizer::card::product;

#[backend_extension(Cube, Fusion)]
pub(super) trait CardOps: Backend {
    /// [`rows::norm`].
    #[fusion(meta = |x, _scale, _shift, _rule, dtype| TensorSpec::new(x.shape.clone(), *dtype))]
    fn card_norm(
        x: FloatTensor<Self>,
        scale: FloatTensor<Self>,
        shift: FloatTensor<Self>,
        rule: rows::Rule,
        dtype: DType,
    ) -> FloatTensor<Self>;

    /// [`rows::add_norm`].
    #[fusion(meta = |x, y, _bias, _gain, _scale, _shift, _rule| {
        (x.clone(), TensorSpec::new(x.shape.clone(), y.dtype))
    })]
    fn card_add_norm(
        x: FloatTensor<Self>,
        y: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        gain: FloatTensor<Self>,
        scale: FloatTensor<Self>,
        shift: FloatTensor<Self>,
        rule: rows::Rule,
    ) -> (FloatTensor<Self>, FloatTensor<Self>);

    /// [`rows::add`].
    #[fusion(meta = |x, _y, _bias, _gain| x.clone())]
    fn card_add(
        x: FloatTensor<Self>,
        y: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        gain: FloatTensor<Self>,
    ) -> FloatTensor<Self>;

    /// [`heads::heads`] without rotary positions.
    #[fusion(meta = |_x, _bias, _logarithm, _weight, rule| {
        TensorSpec::new(Shape::from(rule.shape), rule.dtype)
    })]
    fn card_heads(
        x: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        logarithm: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        rule: heads::Rule,
    ) -> FloatTensor<Self>;

    /// [`heads::heads`] with rotary positions.
    #[fusion(meta = |_x, _bias, _logarithm, _weight, _cos, _sin, rule| {
        TensorSpec::new(Shape::from(rule.shape), rule.dtype)
    })]
    fn card_rotated_heads(
        x: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        logarithm: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        cos: FloatTensor<Self>,
        sin: FloatTensor<Self>,
        rule: heads::Rule,
    ) -> FloatTensor<Self>;

    /// [`attention::attention`] among all queries and keys.
    #[fusion(meta = |q, _k, _v, dtype| TensorSpec::new(attended(&q.shape), *dtype))]
    fn card_attention(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        dtype: DType,
    ) -> FloatTensor<Self>;

    /// [`attention::attention`] with a mask.
    #[fusion(meta = |q, _k, _v, _hidden, dtype| TensorSpec::new(attended(&q.shape), *dtype))]
    fn card_masked_attention(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        hidden: BoolTensor<Self>,
        dtype: DType,
    ) -> FloatTensor<Self>;

    /// [`product::product`].
    #[fusion(meta = |a, b, _bias, _finish, dtype| {
        TensorSpec::new(Shape::new([a.shape[0], b.shape[1]]), *dtype)
    })]
    fn card_product(
        a: FloatTensor<Self>,
        b: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        finish: product::Finish,
        dtype: DType,
    ) -> FloatTensor<Self>;

    /// [`product::int8_product`].
    #[fusion(meta = |a, b, _factors, _bias, _finish, dtype| {
        TensorSpec::new(Shape::new([a.shape[0], b.shape[1]]), *dtype)
    })]
    fn card_int8_product(
        a: FloatTensor<Self>,
        b: IntTensor<Self>,
        factors: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        finish: product::Finish,
        dtype: DType,
    ) -> FloatTensor<Self>;

    /// [`place::place`].
    #[fusion(meta = |target, _source, _rows| target.clone())]
    fn card_place(
        target: FloatTensor<Self>,
        source: FloatTensor<Self>,
        rows: usize,
    ) -> FloatTensor<Self>;

    /// [`place::place`] of a mask.
    #[fusion(meta = |target, _source, _rows| target.clone())]
    fn card_place_mask(
        target: BoolTensor<Self>,
        source: BoolTensor<Self>,
        rows: usize,
    ) -> BoolTensor<Self>;

    /// [`sample::sample`].
    #[fusion(meta = |logits, _u, _draw| TensorSpec::new(Shape::new([logits.shape[0], 1]), DType::I32))]
    fn card_sample(
        logits: FloatTensor<Self>,
        u: FloatTensor<Self>,
        draw: sample::Draw,
    ) -> IntTensor<Self>;
}

/// `[b, n, h, d]` of queries `[b, h, n, d]`.
fn attended(queries: &Shape) -> Shape {
    Shape::new([queries[0], queries[2], queries[1], queries[3]])
}

impl CardOps for CubeBackend {
    fn card_norm(
        x: FloatTensor<Self>,
        scale: FloatTensor<Self>,
        shift: FloatTensor<Self>,
        rule: rows::Rule,
        dtype: DType,
    ) -> FloatTensor<Self> {
        rows::norm(x, rows::Affine { scale, shift, rule }, dtype)
    }

    fn card_add_norm(
        x: FloatTensor<Self>,
        y: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        gain: FloatTensor<Self>,
        scale: FloatTensor<Self>,
        shift: FloatTensor<Self>,
        rule: rows::Rule,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        let affine = rows::Affine { scale, shift, rule };
        let bias = Some(bias);
        rows::add_norm(x, rows::Branch { y, bias, gain }, affine)
    }

    fn card_add(
        x: FloatTensor<Self>,
        y: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        gain: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        let bias = Some(bias);
        rows::add(x, rows::Branch { y, bias, gain })
    }

    fn card_heads(
        x: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        logarithm: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        rule: heads::Rule,
    ) -> FloatTensor<Self> {
        let with = With {
            bias,
            logarithm,
            weight,
        };
        heads::heads(x, with, None, rule)
    }

    fn card_rotated_heads(
        x: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        logarithm: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        cos: FloatTensor<Self>,
        sin: FloatTensor<Self>,
        rule: heads::Rule,
    ) -> FloatTensor<Self> {
        let with = With {
            bias,
            logarithm,
            weight,
        };
        heads::heads(x, with, Some([cos, sin]), rule)
    }

    fn card_attention(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        dtype: DType,
    ) -> FloatTensor<Self> {
        attention::attention(q, Keys::all(k, v), None, None, dtype)
    }

    fn card_masked_attention(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        hidden: BoolTensor<Self>,
        dtype: DType,
    ) -> FloatTensor<Self> {
        attention::attention(q, Keys::all(k, v), None, Some(hidden), dtype)
    }

    fn card_place(
        target: FloatTensor<Self>,
        source: FloatTensor<Self>,
        rows: usize,
    ) -> FloatTensor<Self> {
        place::place(target, source, rows)
    }

    fn card_place_mask(
        target: BoolTensor<Self>,
        source: BoolTensor<Self>,
        rows: usize,
    ) -> BoolTensor<Self> {
        place::place(target, source, rows)
    }

    fn card_sample(
        logits: FloatTensor<Self>,
        u: FloatTensor<Self>,
        draw: sample::Draw,
    ) -> IntTensor<Self> {
        sample::sample(logits, u, draw)
    }

    fn card_product(
        a: FloatTensor<Self>,
        b: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        finish: product::Finish,
        dtype: DType,
    ) -> FloatTensor<Self> {
        product::product(a, b, bias, finish, dtype)
    }

    fn card_int8_product(
        a: FloatTensor<Self>,
        b: IntTensor<Self>,
        factors: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        finish: product::Finish,
        dtype: DType,
    ) -> FloatTensor<Self> {
        product::int8_product(a, b, factors, bias, finish, dtype)
    }
}
