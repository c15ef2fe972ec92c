//! A panel as a chart: title, legend, axes, curves.

use plotters::prelude::*;

use crate::error::CurvesError;
use crate::plot::axis::{Axis, Scale};
use crate::plot::canvas::{Area, part, pixels, size, text, text_width};
use crate::plot::colour::{GRID, INK, SOFT};
use crate::plot::curve::{Curve, Side};
use crate::plot::horizontal::Horizontal;
use crate::plot::legend::Legend;
use crate::plot::panels::Panel;
use crate::plot::strokes;

/// Sizes in pixels: text, the title's text and row, space around the title and legend, below the frame.
const TEXT: f64 = 11.5;
const TITLE: f64 = 14.5;
const TITLE_ROW: f64 = 24.0;
const GAP: f64 = 6.0;
const BELOW: f64 = 42.0;
/// Space at the left and right of a frame for the label of an axis, besides those of its ticks; and without an axis.
const LABEL: f64 = 34.0;
const NO_AXIS: f64 = 14.0;
/// Distance of ticks that can be read.
const ACROSS: f64 = 85.0;
const UPWARDS: f64 = 30.0;

/// Draws a panel.
///
/// # Errors
/// The drawing library fails.
pub(crate) fn draw(area: &Area<'_>, panel: &Panel, x: &Horizontal) -> Result<(), CurvesError> {
    let (width, height) = pixels(area);
    area.draw(&Text::new(panel.title, (0, 0), text(TITLE, INK)))
        .map_err(CurvesError::draw)?;
    let below_title = (0.0, TITLE_ROW);
    let legend = Legend::new(area, &panel.keys, TEXT);
    legend.draw(&part(area, below_title, (width, height - TITLE_ROW)))?;
    let top = TITLE_ROW + legend.height() + GAP;
    let plane = part(area, (0.0, top), (width, height - top));
    let upwards = ((height - top - BELOW) / UPWARDS) as usize;
    let axis = |scale: &Scale, side: Side| {
        let curves = panel.curves.iter().filter(|curve| curve.side == side);
        let values: Vec<f64> = curves
            .flat_map(|curve| curve.points.iter().map(|point| point.1))
            .collect();
        Axis::of_values(scale.clone(), &values, upwards)
    };
    let left = axis(&panel.left, Side::Left);
    let right = panel.right.as_ref().map(|scale| axis(scale, Side::Right));
    let x = x.axis((width / ACROSS) as usize);
    let frame = frame(&plane, &x, &left, right.as_ref())?;
    for curve in &panel.curves {
        let axis = match curve.side {
            Side::Left => &left,
            Side::Right => right.as_ref().unwrap_or(&left),
        };
        strokes::draw(
            &frame,
            placed(&frame, curve, &x, axis),
            curve.colour,
            curve.stroke,
        )?;
    }
    Ok(())
}

/// The points of a curve in the units of a frame.
fn placed(frame: &Area<'_>, curve: &Curve, x: &Axis, y: &Axis) -> Vec<(i32, i32)> {
    let (width, height) = frame.dim_in_pixel();
    let points = curve.points.iter().filter_map(|(at, value)| {
        let across = x.share(x.place(*at)?) * f64::from(width);
        let down = (1.0 - y.share(y.place(*value)?)) * f64::from(height);
        Some((across.round() as i32, down.round() as i32))
    });
    points.collect()
}

/// Draws the axes and the grid, and gives the frame between them.
fn frame<'a>(
    area: &Area<'a>,
    x: &Axis,
    left: &Axis,
    right: Option<&Axis>,
) -> Result<Area<'a>, CurvesError> {
    let beside = |axis: &Axis| {
        let widths = axis
            .ticks
            .iter()
            .map(|(_, label)| text_width(area, label, TEXT));
        size(LABEL + widths.fold(0.0, f64::max))
    };
    let mut chart = ChartBuilder::on(area)
        .margin_top(size(GAP))
        .x_label_area_size(size(BELOW))
        .y_label_area_size(beside(left))
        .right_y_label_area_size(right.map_or(size(NO_AXIS), beside))
        .build_cartesian_2d(x.clone(), left.clone())
        .map_err(CurvesError::draw)?
        .set_secondary_coord(x.clone(), right.unwrap_or(left).clone());
    let labels = text(TEXT, SOFT);
    chart
        .configure_mesh()
        .x_desc(&x.scale.label)
        .y_desc(&left.scale.label)
        .label_style(labels.clone())
        .axis_desc_style(text(TEXT, INK))
        .axis_style(SOFT.stroke_width(size(1.0)))
        .bold_line_style(GRID.stroke_width(size(1.0)))
        .light_line_style(TRANSPARENT)
        .set_all_tick_mark_size(size(4.0))
        .draw()
        .map_err(CurvesError::draw)?;
    if let Some(right) = right {
        chart
            .configure_secondary_axes()
            .y_desc(&right.scale.label)
            .label_style(labels)
            .axis_desc_style(text(TEXT, INK))
            .axis_style(SOFT.stroke_width(size(1.0)))
            .set_all_tick_mark_size(size(4.0))
            .draw()
            .map_err(CurvesError::draw)?;
    }
    Ok(chart.plotting_area().strip_coord_spec())
}
