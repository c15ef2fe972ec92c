//! The part of an image that an edit generates, as the user writes it: a box, or sides to extend.

use crate::error::PipelineError;

/// `left,top,width,height` in an image of `w` x `h` pixels, as left, top, right and bottom, the latter two exclusive.
pub(super) fn rectangle(text: &str, w: u32, h: u32) -> Result<[u32; 4], PipelineError> {
    let hint = "write left,top,width,height in pixels, such as 16,16,32,32, or in percent, such as 25%,25%,50%,50%";
    let bad = || PipelineError::refused_with(format!("`{text}` is not a box"), hint);
    let number = |text: &str, all: u32| -> Option<f64> {
        let text = text.trim();
        let value = match text.strip_suffix('%') {
            Some(share) => share.trim().parse::<f64>().ok()? / 100.0 * f64::from(all),
            None => text.parse().ok()?,
        };
        (value.is_finite() && value >= 0.0).then_some(value)
    };
    let parts: Vec<&str> = text.split(',').collect();
    let [left, top, width, height] = parts.as_slice() else {
        return Err(bad());
    };
    let side = |start, length, all| {
        let (start, length) = (number(start, all)?, number(length, all)?);
        Some((start.round(), (start + length).round()))
    };
    let (left, right) = side(left, width, w).ok_or_else(bad)?;
    let (top, bottom) = side(top, height, h).ok_or_else(bad)?;
    if right > f64::from(w) || bottom > f64::from(h) {
        let message = format!("the box `{text}` is not inside the image, which has {w}x{h} pixels");
        return Err(PipelineError::refused_with(message, hint));
    }
    if left < right && top < bottom {
        Ok([left, top, right, bottom].map(|edge| edge as u32))
    } else {
        Err(PipelineError::refused_with(
            format!("the box `{text}` is empty"),
            hint,
        ))
    }
}

/// Fractions of the result that are new on the left, at the top, on the right and at the bottom.
pub(super) fn sides(text: &str) -> Result<[f64; 4], PipelineError> {
    const NAMES: [&str; 4] = ["left", "top", "right", "bottom"];
    let hint = "write a side and the fraction of the result that is new, such as `left 0.5` or `left 0.25, right 0.25`";
    let mut shares = [0.0; 4];
    for part in text.split(',') {
        let words: Vec<&str> = part.split_whitespace().collect();
        let known = |side: &str| NAMES.iter().position(|name| *name == side);
        let read = match words.as_slice() {
            [side, share] => known(side).zip(share.parse::<f64>().ok()),
            _ => None,
        };
        match read {
            Some((side, share)) if share > 0.0 && share < 1.0 => shares[side] += share,
            _ => {
                let message = format!("`{}` is not a side to extend", part.trim());
                return Err(PipelineError::refused_with(message, hint));
            }
        }
    }
    let [left, top, right, bottom] = shares;
    if left + right < 1.0 && top + bottom < 1.0 {
        Ok(shares)
    } else {
        let message = format!("`{text}` leaves nothing of the image");
        Err(PipelineError::refused_with(message, hint))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boxes() {
        let of = |text| rectangle(text, 64, 32);
        assert_eq!(of("16,8,32,16").unwrap(), [16, 8, 48, 24]);
        assert_eq!(of(" 25%, 25%, 50%, 50% ").unwrap(), [16, 8, 48, 24]);
        for bad in [
            "",
            "1,2,3",
            "a,b,c,d",
            "-1,0,4,4",
            "1,1,0,4",
            "40,0,30,8",
            "nan,0,1,1",
        ] {
            assert!(of(bad).is_err(), "{bad}");
        }
        let outside = of("40,0,30,8").unwrap_err().to_string();
        assert!(outside.contains("64x32"), "{outside}");
    }

    #[test]
    fn sides_to_continue() {
        assert_eq!(sides("left 0.5").unwrap(), [0.5, 0.0, 0.0, 0.0]);
        assert_eq!(sides("top 0.25, right 0.5").unwrap(), [0.0, 0.25, 0.5, 0.0]);
        for bad in [
            "",
            "left",
            "left 1",
            "up 0.5",
            "left 0.6, right 0.6",
            "left -1",
        ] {
            assert!(sides(bad).is_err(), "{bad}");
        }
    }
}
