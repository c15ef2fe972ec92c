//! Prompts as people write and paste them: encodings, line ends, characters that no prompt can hold, and the syntax of other
//! programs.

use crate::error::{Diagnostic, Mark};

/// The text of a file or a stream, in UTF-8 or, with its mark, UTF-16; every line ends with `\n`.
///
/// # Errors
/// Bytes of another encoding, with their place.
pub(crate) fn decode(bytes: &[u8], origin: &str) -> Result<String, Diagnostic> {
    let text = match bytes {
        [0xff, 0xfe, rest @ ..] => utf_16(rest, u16::from_le_bytes, origin)?,
        [0xfe, 0xff, rest @ ..] => utf_16(rest, u16::from_be_bytes, origin)?,
        _ => utf_8(bytes, origin)?,
    };
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    Ok(text.replace("\r\n", "\n").replace('\r', "\n"))
}

fn utf_8(bytes: &[u8], origin: &str) -> Result<String, Diagnostic> {
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let (line, column) = place(&bytes[..error.valid_up_to()]);
        let message = "this is not UTF-8, the encoding of text here";
        Diagnostic::new(&mark(origin, line, column), message).hint("save the file as UTF-8")
    })?;
    Ok(text.to_owned())
}

fn utf_16(bytes: &[u8], unit: fn([u8; 2]) -> u16, origin: &str) -> Result<String, Diagnostic> {
    let units: Vec<u16> = bytes
        .chunks(2)
        .map(|pair| unit([pair[0], *pair.get(1).unwrap_or(&0)]))
        .collect();
    String::from_utf16(&units).map_err(|_| {
        let message = "this begins like UTF-16 and is not";
        Diagnostic::new(&Mark::origin(origin), message).hint("save the file as UTF-8")
    })
}

/// Line and column, from 1, of what follows these bytes.
fn place(before: &[u8]) -> (u64, u64) {
    let text = String::from_utf8_lossy(before);
    let line = text.matches('\n').count() as u64 + 1;
    let last = text.rsplit('\n').next().unwrap_or_default();
    (line, last.chars().count() as u64 + 1)
}

fn mark(origin: &str, line: u64, column: u64) -> Mark {
    Mark {
        origin: origin.into(),
        line,
        column,
    }
}

/// Refuses a character that files and tags cannot hold; `at` is where the prompt begins.
///
/// # Errors
/// A prompt with U+0000.
pub(crate) fn check(prompt: &str, at: &Mark) -> Result<(), Diagnostic> {
    let Some(found) = prompt.find('\0') else {
        return Ok(());
    };
    let mut at = at.clone();
    if at.line > 0 {
        at.column += prompt[..found].chars().count() as u64;
    }
    let message = "a prompt cannot hold the character U+0000";
    Err(Diagnostic::new(&at, message).hint("remove it"))
}

/// The first piece of a prompt that other programs read as a command, and that is taken literally here.
pub fn foreign_syntax(prompt: &str) -> Option<&str> {
    for (start, opening) in prompt.char_indices() {
        let rest = &prompt[start..];
        let found =
            match opening {
                '(' => enclosed(rest, ')')
                    .filter(|inside| is_weight(inside) || inside.starts_with("((")),
                '<' => enclosed(rest, '>').filter(|inside| {
                    ["<lora:", "<lyco:", "<hypernet:"]
                        .iter()
                        .any(|tag| inside.starts_with(tag))
                }),
                '[' => enclosed(rest, ']')
                    .filter(|inside| inside.contains('|') || inside.contains(':')),
                'B' if rest.starts_with("BREAK") => {
                    let is_end = |c: Option<char>| c.is_none_or(|c| !c.is_alphanumeric());
                    let alone = is_end(prompt[..start].chars().next_back())
                        && is_end(rest[5..].chars().next());
                    alone.then_some("BREAK")
                }
                _ => None,
            };
        if found.is_some() {
            return found;
        }
    }
    None
}

/// The text up to the first closing bracket, both brackets included.
fn enclosed(text: &str, closing: char) -> Option<&str> {
    let end = text.find(closing)?;
    Some(&text[..end + closing.len_utf8()])
}

/// Whether it is `(words:1.3)`.
fn is_weight(text: &str) -> bool {
    let number = text.trim_end_matches(')').rsplit_once(':');
    number.is_some_and(|(_, number)| number.trim().parse::<f64>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_encoding_gives_the_same_lines() {
        let text = "caf\u{e9}\n\u{1f98a}\n";
        let wide = |unit: fn(u16) -> [u8; 2]| -> Vec<u8> {
            "\u{feff}caf\u{e9}\r\n\u{1f98a}\r\n"
                .encode_utf16()
                .flat_map(unit)
                .collect()
        };
        let same = [
            text.as_bytes().to_vec(),
            "\u{feff}caf\u{e9}\n\u{1f98a}\n".into(),
            "caf\u{e9}\r\n\u{1f98a}\r\n".into(),
            "caf\u{e9}\r\u{1f98a}\r".into(),
            wide(u16::to_le_bytes),
            wide(u16::to_be_bytes),
        ];
        for bytes in same {
            assert_eq!(decode(&bytes, "p.txt").unwrap(), text, "{bytes:?}");
        }
        let error = decode(b"a\nb caf\xe9", "p.txt").unwrap_err().to_string();
        assert!(error.starts_with("p.txt:2:6: this is not UTF-8"), "{error}");
        assert!(decode(b"\xff\xfe\x00\xd8", "p.txt").is_err());
    }

    #[test]
    fn a_zero_is_refused_with_its_place() {
        let at = mark("p.txt", 3, 1);
        assert!(check("a cat\u{1b}[2J", &at).is_ok());
        let error = check("a\0b", &at).unwrap_err().to_string();
        assert_eq!(
            error,
            "p.txt:3:2: a prompt cannot hold the character U+0000"
        );
    }

    #[test]
    fn the_syntax_of_other_programs_is_found() {
        for (prompt, found) in [
            ("a (red:1.3) apple", "(red:1.3)"),
            ("(((long hair)))", "(((long hair)"),
            ("<lora:detail:0.8>, cat", "<lora:detail:0.8>"),
            ("a BREAK b", "BREAK"),
            ("[dog|cat]", "[dog|cat]"),
        ] {
            assert_eq!(foreign_syntax(prompt), Some(found), "{prompt}");
        }
        for plain in [
            "a cat (orange)",
            "1 < 2",
            "BREAKFAST",
            "at 12:30",
            "a [small] dog",
            "(note: a cat)",
            "(",
        ] {
            assert_eq!(foreign_syntax(plain), None, "{plain}");
        }
    }
}
