use nextscale_tokenizer::Scale;
use nextscale_var_core::rope::cell_positions;

/// Positions of the tokens of a prompt: their index on the scale axis, 0 on the others.
pub fn text_positions(tokens: usize) -> Vec<[f32; 4]> {
    (0..tokens).map(|n| [n as f32, 0.0, 0.0, 0.0]).collect()
}

/// Positions of the tokens of a grid, frame by frame and row by row: scale, frame, row, column.
///
/// `level` is the position on the scale axis and `frames` the position of each frame. Row `i` of `h` has the position
/// `round(i (H / h))` in f32, halves to even, where `H` is the number of rows of `reference`; columns likewise
/// (`get_visual_rope_embeds` of `infinity/schedules/infinity_elegant.py`).
///
/// # Panics
/// If there is not one position per frame.
pub fn grid_positions(
    scale: Scale,
    reference: Scale,
    frames: &[usize],
    level: usize,
) -> Vec<[f32; 4]> {
    assert_eq!(frames.len(), scale.t, "positions of the frames of {scale}");
    let mut positions = Vec::with_capacity(scale.tokens());
    for &frame in frames {
        let cells = cell_positions(scale, reference);
        positions.extend(cells.map(|[row, column]| [level as f32, frame as f32, row, column]));
    }
    positions
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_go_to_even() {
        let positions = grid_positions(Scale::new(2, 1, 4), Scale::image(5, 6), &[3, 4], 600);
        let columns: Vec<f32> = positions.iter().map(|p| p[3]).collect();
        assert_eq!(columns, [0.0, 2.0, 3.0, 4.0, 0.0, 2.0, 3.0, 4.0]); // 0, 1.5, 3, 4.5
        assert_eq!(positions[5][..3], [600.0, 4.0, 0.0]);
    }
}
