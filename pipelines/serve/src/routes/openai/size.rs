//! Sizes as the OpenAI API writes them.

use crate::refusal::Refusal;

/// Width and height; none for `auto`.
pub(super) fn size(asked: Option<&str>) -> Result<Option<(usize, usize)>, Refusal> {
    let Some(text) = asked.filter(|text| *text != "auto") else {
        return Ok(None);
    };
    let sides = text.split_once('x');
    let sides = sides.and_then(|(w, h)| Some((w.parse().ok()?, h.parse().ok()?)));
    match sides {
        Some(sides) => Ok(Some(sides)),
        None => Err(Refusal::bad(format!(
            "`size` is WIDTHxHEIGHT or auto, not `{text}`"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        assert_eq!(size(None).unwrap(), None);
        assert_eq!(size(Some("auto")).unwrap(), None);
        assert_eq!(size(Some("64x128")).unwrap(), Some((64, 128)));
        for bad in ["64", "x", "64x", "axb", "64x64x64", "-1x2"] {
            assert!(size(Some(bad)).is_err(), "{bad}");
        }
    }
}
