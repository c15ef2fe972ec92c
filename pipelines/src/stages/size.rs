//! The size of the image or video, as the user asked for it.

use nextscale_models::Size;

use crate::error::PipelineError;
use crate::setup::Setup;

/// A size as the user asked for it.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct SizeRequest<'a> {
    pub width: Option<usize>,
    pub height: Option<usize>,
    pub aspect: Option<&'a str>,
    pub pixels: Option<&'a str>,
}

impl SizeRequest<'_> {
    /// Whether nothing was asked for.
    pub(super) fn is_empty(&self) -> bool {
        self.width.is_none() && self.height.is_none() && !self.by_shape()
    }

    fn by_shape(&self) -> bool {
        self.aspect.is_some() || self.pixels.is_some()
    }

    /// That size, if it is one of the `sizes` of the model `name`.
    pub(super) fn pick(
        &self,
        sizes: &[Size],
        name: &str,
        setup: &Setup,
    ) -> Result<Size, PipelineError> {
        if self.by_shape() {
            return self.pick_shape(sizes, name, setup);
        }
        let (width, height) = (self.width, self.height);
        if let Some(size) = Size::find(sizes, width, height) {
            return Ok(size.clone());
        }
        let asked = match (width, height) {
            (Some(w), Some(h)) => format!("{w}x{h} pixels"),
            (Some(w), None) => format!("images {w} pixels wide"),
            (None, h) => format!("images {} pixels high", h.unwrap_or_default()),
        };
        let message = format!("the model `{name}` does not generate {asked}");
        let key = if width.is_some() { "width" } else { "height" };
        let mut refused = setup.refuse(key, message);
        refused.hint = Size::nearest(sizes, width, height)
            .map(|size| format!("the nearest size is {}x{}", size.width, size.height));
        Err(refused.into())
    }

    /// Says so if the size has quite another aspect ratio than was asked for.
    pub(super) fn notice(&self, size: &Size) -> Option<String> {
        const NOTICED: f64 = 0.05;
        let wanted = self.aspect?;
        let (width, height) = (size.width, size.height);
        let off = (ratio(wanted)? * height as f64 / width as f64).ln().abs();
        (off > NOTICED).then(|| {
            format!("the aspect ratio {wanted} is adjusted to {width}x{height} pixels, the nearest size of the model")
        })
    }

    fn pick_shape(&self, sizes: &[Size], name: &str, setup: &Setup) -> Result<Size, PipelineError> {
        let Self {
            width,
            height,
            aspect,
            pixels,
        } = self;
        let key = if aspect.is_some() { "aspect" } else { "pixels" };
        if width.is_some() || height.is_some() {
            let message =
                format!("a size comes from `width` and `height` or from `{key}`, not from both");
            return Err(setup.refuse(key, message).into());
        }
        let wanted = aspect.unwrap_or("1:1");
        let Some(ratio) = ratio(wanted) else {
            let message = format!("`{wanted}` is not a ratio");
            let hint = "write width:height, for example 16:9";
            return Err(setup.refuse("aspect", message).hint(hint).into());
        };
        let about = match pixels.map(millions) {
            Some(None) => {
                let message = format!("`{}` is not a number of pixels", pixels.unwrap_or_default());
                let hint = "write for example 0.25M or 1M";
                return Err(setup.refuse("pixels", message).hint(hint).into());
            }
            about => about.flatten(),
        };
        let found = Size::of_aspect(sizes, ratio, about).map_err(|error| {
            let message = format!("the model `{name}` does not generate that");
            setup.refuse(key, message).hint(error.to_string())
        })?;
        Ok(found.clone())
    }
}

/// The size whose aspect ratio is nearest to `ratio`, width to height.
pub(super) fn nearest_shape(sizes: &[Size], ratio: f64) -> Size {
    let far = |size: &&Size| (size.width as f64 / size.height as f64 / ratio).ln().abs();
    let nearest = sizes.iter().min_by(|a, b| far(a).total_cmp(&far(b)));
    nearest.unwrap_or(&sizes[0]).clone()
}

/// `0.25M`, or a plain number.
fn millions(text: &str) -> Option<f64> {
    let text = text.trim();
    let (number, unit) = match text.strip_suffix(['M', 'm']) {
        Some(number) => (number, 1e6),
        None => (text, 1.0),
    };
    let pixels = number.trim().parse::<f64>().ok()? * unit;
    (pixels.is_finite() && pixels >= 1.0).then_some(pixels)
}

fn ratio(text: &str) -> Option<f64> {
    let number = |t: &str| {
        t.trim()
            .parse::<f64>()
            .ok()
            .filter(|x| x.is_normal() && *x > 0.0)
    };
    match text.split_once([':', '/', 'x']) {
        Some((w, h)) => Some(number(w)? / number(h)?),
        None => number(text),
    }
}

#[cfg(test)]
mod tests {
    use super::{millions, ratio};

    #[test]
    fn numbers_of_pixels() {
        assert_eq!(millions("0.25M"), Some(250_000.0));
        assert_eq!(millions("65536"), Some(65_536.0));
        for bad in ["", "M", "-1M", "x", "0", "inf"] {
            assert_eq!(millions(bad), None, "{bad}");
        }
    }

    #[test]
    fn ratios() {
        assert_eq!(ratio("16:8"), Some(2.0));
        assert_eq!(ratio("1.5"), Some(1.5));
        for bad in ["", "0:1", "1:0", "a:b", "-1", "nan"] {
            assert_eq!(ratio(bad), None, "{bad}");
        }
    }
}
