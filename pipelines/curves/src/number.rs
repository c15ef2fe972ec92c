//! Numbers as people read them.

/// A number with four significant digits at most.
pub(crate) fn number(value: f64) -> String {
    let size = value.abs();
    if size != 0.0 && !(1e-4..1e7).contains(&size) {
        return scientific(value);
    }
    if size >= 1000.0 {
        return grouped(value);
    }
    let digits = if size == 0.0 {
        0.0
    } else {
        size.log10().floor()
    };
    trimmed(format!("{value:.*}", (3.0 - digits).max(0.0) as usize))
}

/// As `1.5e-5`.
pub(crate) fn scientific(value: f64) -> String {
    let text = format!("{value:.2e}");
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    format!("{}e{exponent}", trimmed(mantissa.to_owned()))
}

/// A whole number, its digits in groups of three.
pub(crate) fn grouped(value: f64) -> String {
    let digits = format!("{:.0}", value.abs());
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    if value < 0.0 {
        format!("-{text}")
    } else {
        text
    }
}

/// A share as percents.
pub(crate) fn percent(share: f64) -> String {
    format!("{} %", trimmed(format!("{:.2}", 100.0 * share)))
}

/// A time in its two largest units.
pub(crate) fn duration(seconds: f64) -> String {
    let whole = seconds.max(0.0).round() as u64;
    let (days, hours, minutes) = (whole / 86_400, whole / 3600 % 24, whole / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) if seconds < 10.0 => format!("{seconds:.1} s"),
        (0, 0, 0) => format!("{whole} s"),
        (0, 0, _) => format!("{minutes} min {} s", whole % 60),
        (0, ..) => format!("{hours} h {minutes} min"),
        _ => format!("{days} d {hours} h"),
    }
}

/// Decimals without zeros at their end.
pub(crate) fn trimmed(text: String) -> String {
    if !text.contains('.') {
        return text;
    }
    let short = text.trim_end_matches('0').trim_end_matches('.');
    if short == "-0" { "0" } else { short }.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        let cases = [
            (0.0, "0"),
            (0.35, "0.35"),
            (2.170_26, "2.17"),
            (12.345_6, "12.35"),
            (-0.000_5, "-0.0005"),
            (3e-5, "3e-5"),
            (1234.5, "1 234"),
            (123_456.0, "123 456"),
        ];
        for (value, text) in cases {
            assert_eq!(number(value), text);
        }
        assert_eq!(percent(0.847_29), "84.73 %");
    }

    #[test]
    fn times_have_two_units() {
        let cases = [
            (4.06, "4.1 s"),
            (59.0, "59 s"),
            (61.0, "1 min 1 s"),
            (4801.0, "1 h 20 min"),
            (90_000.0, "1 d 1 h"),
        ];
        for (seconds, text) in cases {
            assert_eq!(duration(seconds), text);
        }
    }
}
