//! Forms with files.

use std::collections::HashMap;

use axum::body::Bytes;
use axum::extract::Multipart;
use axum::extract::multipart::MultipartError;

use crate::refusal::Refusal;

/// Fields that a form has at most.
const MOST_FIELDS: usize = 64;

/// A form: texts and files by name.
#[derive(Debug, Default)]
pub(super) struct FormFields {
    texts: HashMap<String, String>,
    files: Vec<(String, Bytes)>,
}

impl FormFields {
    /// Reads a form. Names that end with `[]` are those without it.
    pub async fn read(mut form: Multipart) -> Result<Self, Refusal> {
        let mut fields = Self::default();
        let bad = |e: MultipartError| Refusal::new(e.status(), e.body_text());
        for _ in 0..MOST_FIELDS {
            let Some(field) = form.next_field().await.map_err(bad)? else {
                return Ok(fields);
            };
            let name = field.name().unwrap_or_default();
            let name = name.strip_suffix("[]").unwrap_or(name).to_owned();
            if field.file_name().is_some() {
                let bytes = field.bytes().await.map_err(bad)?;
                fields.files.push((name, bytes));
            } else {
                let text = field.text().await.map_err(bad)?;
                fields.texts.insert(name, text);
            }
        }
        Err(Refusal::bad(format!(
            "a form has at most {MOST_FIELDS} fields"
        )))
    }

    /// A text, if it is there and not empty.
    pub fn text(&self, name: &str) -> Option<&str> {
        let text = self.texts.get(name).map(|text| text.trim());
        text.filter(|text| !text.is_empty())
    }

    /// A number or a word such as `true`.
    pub fn value<T: std::str::FromStr>(&self, name: &str) -> Result<Option<T>, Refusal> {
        let Some(text) = self.text(name) else {
            return Ok(None);
        };
        let wrong = |_| Refusal::bad(format!("`{name}` cannot be `{text}`"));
        text.parse().map(Some).map_err(wrong)
    }

    /// The only file of a name, if it is there.
    pub fn file(&self, name: &str) -> Result<Option<&Bytes>, Refusal> {
        let mut files = self.files.iter().filter(|(of, _)| of == name);
        let first = files.next();
        match files.next() {
            None => Ok(first.map(|(_, bytes)| bytes)),
            Some(_) => Err(Refusal::bad(format!("one `{name}` is taken, not several"))),
        }
    }
}
