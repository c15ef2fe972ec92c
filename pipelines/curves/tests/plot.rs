//! Pages of curves as files.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use nextscale_curves::{CurvesError, Log, PlotOptions, X, plot};

/// A log with the numbers of a transformer's run.
fn log(name: &str, steps: u32) -> Log {
    let line = |step: u32| {
        let progress = f64::from(step) / f64::from(steps);
        let mut line = BTreeMap::from([
            ("step", f64::from(10 * step)),
            ("loss", 1.0 / (0.1 + progress)),
            ("right", 0.5 + 0.4 * progress),
            ("learning_rate", 1e-3 * (1.0 - progress)),
            ("gradient_norm", 1.0 + progress),
            ("examples_per_second", 10.0),
            ("seconds", 100.0 * f64::from(step)),
        ]);
        if step.is_multiple_of(10) {
            line.insert("held_out_loss", 1.1 / (0.1 + progress));
        }
        line.into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .collect()
    };
    Log {
        name: name.to_owned(),
        lines: (1..=steps).map(line).collect(),
        skipped_lines: 1,
        skipped_values: 2,
    }
}

/// A page as SVG.
fn svg(logs: &[Log], options: &PlotOptions) -> String {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("curves.svg");
    plot(logs, options, &out).unwrap();
    fs::read_to_string(out).unwrap()
}

/// Size and pixels (RGBA) of a PNG.
fn decode(path: &Path) -> (u32, u32, Vec<u8>) {
    let file = std::io::BufReader::new(fs::File::open(path).unwrap());
    let mut reader = png::Decoder::new(file).read_info().unwrap();
    let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
    let info = reader.next_frame(&mut pixels).unwrap();
    assert_eq!(info.color_type, png::ColorType::Rgba);
    (info.width, info.height, pixels)
}

#[test]
fn an_svg_names_panels_runs_and_axes() {
    let logs = [log("wide <1>", 50), log("deep", 40), log("deep", 30)];
    let svg = svg(&logs, &PlotOptions::default());
    let shown = [
        "Loss",
        "Share right",
        "Learning rate and gradient norm",
        "wide &lt;1&gt;",
        "deep (1)",
        "deep (2)",
        "held out",
        "step",
        "right (%)",
        "gradient norm (right axis)",
    ];
    for name in shown {
        assert!(svg.contains(&format!(">\n{name}\n<")), "{name}");
    }
    assert!(!svg.contains("Codebook"));
    assert!(svg.contains("font-family=\"sans-serif\""));
    assert!(svg.contains("<svg width=\"1200\" height=\"900\""));
}

#[test]
fn a_png_has_its_size_and_the_colours_of_its_runs() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("curves.PNG");
    let options = PlotOptions {
        width: 640,
        height: 700,
        ..PlotOptions::default()
    };
    let plotted = plot(&[log("a", 50), log("b", 20)], &options, &out).unwrap();
    assert_eq!(
        plotted.panels,
        ["Loss", "Share right", "Learning rate and gradient norm"]
    );
    assert_eq!((plotted.skipped_lines, plotted.skipped_values), (2, 4));
    let (width, height, pixels) = decode(&out);
    assert_eq!((width, height), (640, 700));
    let count = |colour: [u8; 4]| pixels.chunks(4).filter(|pixel| **pixel == colour).count();
    let all = (width * height) as usize;
    assert!(count([255; 4]) > all / 2, "a light page");
    assert!(count([0, 114, 178, 255]) > 200, "a");
    assert!(count([213, 94, 0, 255]) > 200, "b");
    let names: Vec<_> = fs::read_dir(folder.path()).unwrap().collect();
    assert_eq!(names.len(), 1, "nothing else is left in the folder");
}

#[test]
fn the_horizontal_axis_is_chosen() {
    let axis = |x| {
        svg(
            &[log("a", 50)],
            &PlotOptions {
                x,
                ..PlotOptions::default()
            },
        )
    };
    assert!(axis(X::Steps).contains(">\nstep\n<"));
    assert!(
        axis(X::Seconds).contains(">\ntraining time (min)\n<"),
        "5000 s"
    );
    let examples = axis(X::Examples);
    assert!(examples.contains(">\nexamples\n<") && examples.contains(">\n50k\n<"));
}

#[test]
fn the_loss_may_be_logarithmic() {
    let page = |log_loss| {
        svg(
            &[log("a", 50)],
            &PlotOptions {
                log_loss,
                ..PlotOptions::default()
            },
        )
    };
    let (linear, log) = (page(false), page(true));
    assert!(linear.contains(">\n4\n<") && !log.contains(">\n4\n<"));
    assert!(log.contains(">\n5\n<"));
}

#[test]
fn one_line_is_enough() {
    let page = svg(&[log("a", 1)], &PlotOptions::default());
    assert!(page.contains("<circle"));
    assert!(
        !page.contains("NaN") && !page.contains("-2147483648"),
        "{page}"
    );
}

#[test]
fn what_cannot_be_drawn_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let error = |logs: &[Log], options: &PlotOptions, name: &str| {
        let out = folder.path().join(name);
        let error = plot(logs, options, &out).unwrap_err();
        assert!(!out.exists());
        error.to_string()
    };
    let (logs, options) = ([log("a", 5)], PlotOptions::default());
    for name in ["curves.jpeg", "curves"] {
        let error = error(&logs, &options, name);
        assert!(
            error.contains(name) && error.contains(".svg or .png"),
            "{error}"
        );
    }
    let small = PlotOptions {
        height: 300,
        ..PlotOptions::default()
    };
    let text = error(&logs, &small, "a.svg");
    assert!(
        text.contains("1200 x 300") && text.contains("at least 400 x 400"),
        "{text}"
    );
    let mut bare = log("a", 5);
    bare.lines
        .iter_mut()
        .for_each(|line| line.retain(|name, _| name == "step"));
    assert!(error(&[bare], &options, "a.svg").contains("no numbers to plot"));
    assert!(error(&[], &options, "a.svg").contains("no numbers to plot"));
    let missing = plot(&logs, &options, Path::new("/no/such/folder/a.svg"));
    assert!(
        matches!(missing, Err(CurvesError::Write { .. })),
        "{missing:?}"
    );
}
