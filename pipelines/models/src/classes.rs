//! The classes of a class-conditional model, by number and by name.

use thiserror::Error;

use crate::error::nearest;

/// The classes of a model.
#[derive(Debug, Clone, Copy)]
pub struct ClassNames<'a> {
    names: &'a [String],
    count: usize,
}

/// Why a class is not one.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ClassError {
    /// A number that is too large or negative.
    #[error("there is no class {number}: they go from 0 to {}", count - 1)]
    OutOfRange {
        /// What was asked for.
        number: i64,
        /// The number of classes.
        count: usize,
    },
    /// A name that several classes have.
    #[error("`{name}` is the name of several classes: {numbers}")]
    Ambiguous {
        /// What was asked for.
        name: String,
        /// The numbers of these classes.
        numbers: String,
    },
    /// A name that no class has.
    #[error("there is no class `{name}`")]
    Unknown {
        /// What was asked for.
        name: String,
        /// What to do instead.
        hint: String,
    },
}

impl ClassError {
    /// What to do about it, if anything.
    pub fn hint(&self) -> Option<&str> {
        match self {
            Self::OutOfRange { .. } => None,
            Self::Ambiguous { .. } => Some("give the number of the one that you mean"),
            Self::Unknown { hint, .. } => Some(hint),
        }
    }
}

impl<'a> ClassNames<'a> {
    /// `count` classes; `names` has the names of each with `, ` between them, or is empty.
    pub(crate) fn new(names: &'a [String], count: usize) -> Self {
        Self { names, count }
    }

    /// How many classes there are.
    pub fn count(&self) -> usize {
        self.count
    }

    /// What to call a class: its first name, or its number.
    pub fn label(&self, class: usize) -> String {
        let names = self.names.get(class);
        let first = names.and_then(|names| names.split(", ").next());
        first.map_or_else(|| class.to_string(), str::to_owned)
    }

    /// The class of a number, or of one of its names in any case. First names come before further ones.
    ///
    /// # Errors
    /// No such class, or a name of several.
    pub fn find(&self, wanted: &str) -> Result<usize, ClassError> {
        if let Ok(number) = wanted.parse::<i64>() {
            let count = self.count;
            let class = usize::try_from(number).ok().filter(|class| *class < count);
            return class.ok_or(ClassError::OutOfRange { number, count });
        }
        let asked = wanted.trim().to_lowercase();
        for most in [1, usize::MAX] {
            let has_name = |names: &String| {
                let mut names = names.split(", ").take(most);
                names.any(|name| name.to_lowercase() == asked)
            };
            let all = self.names.iter().enumerate();
            let found: Vec<usize> = all.filter(|(_, n)| has_name(n)).map(|(i, _)| i).collect();
            match found.as_slice() {
                [] => {}
                [one] => return Ok(*one),
                several => {
                    let numbers: Vec<String> = several.iter().map(ToString::to_string).collect();
                    return Err(ClassError::Ambiguous {
                        name: wanted.to_owned(),
                        numbers: numbers.join(", "),
                    });
                }
            }
        }
        Err(ClassError::Unknown {
            name: wanted.to_owned(),
            hint: self.suggest(&asked),
        })
    }

    fn suggest(&self, asked: &str) -> String {
        let numbers = format!("give its number, from 0 to {}", self.count - 1);
        if self.names.is_empty() {
            return format!("this model's classes have no names: {numbers}");
        }
        let lower: Vec<String> = self.names.iter().map(|n| n.to_lowercase()).collect();
        let names = || lower.iter().flat_map(|n| n.split(", "));
        let long = asked.chars().count() > 2;
        let similar: Vec<&str> = names()
            .filter(|n| long && n.contains(asked))
            .take(8)
            .collect();
        if !similar.is_empty() {
            return format!("classes like it: {}", similar.join(", "));
        }
        nearest(asked, names()).map_or(numbers, |name| format!("did you mean `{name}`?"))
    }
}

#[cfg(test)]
mod tests {
    use crate::manifest::VarManifest;
    use nextscale_tokenizer::vqvae::VqVaeConfig;
    use nextscale_var_core::var::VarConfig;

    fn imagenet() -> VarManifest {
        crate::released::var::manifest(VarConfig::released_256(16), VqVaeConfig::released())
    }

    #[test]
    fn classes_by_number_and_by_name() {
        let manifest = imagenet();
        let classes = manifest.class_names();
        assert_eq!(classes.find("207"), Ok(207));
        assert_eq!(classes.find("Golden Retriever"), Ok(207));
        assert_eq!(classes.find("Tinca tinca"), Ok(0));
        assert_eq!(
            classes.find("missile"),
            Ok(657),
            "its first name, and another's second"
        );
        assert_eq!(classes.label(207), "golden retriever");
    }

    #[test]
    fn wrong_classes_are_explained() {
        let manifest = imagenet();
        let wrong = |class: &str| manifest.class_names().find(class).unwrap_err();
        assert_eq!(
            wrong("1000").to_string(),
            "there is no class 1000: they go from 0 to 999"
        );
        assert_eq!(
            wrong("-1").to_string(),
            "there is no class -1: they go from 0 to 999"
        );
        assert_eq!(
            wrong("crane").to_string(),
            "`crane` is the name of several classes: 134, 517"
        );
        assert_eq!(
            wrong("golden retreiver").hint(),
            Some("did you mean `golden retriever`?")
        );
        assert!(wrong("terrier").hint().unwrap().contains("toy terrier"));
    }
}
