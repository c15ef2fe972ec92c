//! The classes of a class-conditional model, by number and by name.

use crate::error::{ModelError, nearest};

/// The classes of a model.
#[derive(Debug, Clone, Copy)]
pub struct ClassNames<'a> {
    names: &'a [String],
    count: usize,
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
    pub fn find(&self, wanted: &str) -> Result<usize, ModelError> {
        if let Ok(number) = wanted.parse::<i64>() {
            let last = self.count - 1;
            let class = usize::try_from(number).ok().filter(|class| *class <= last);
            let message = || format!("there is no class {number}: they go from 0 to {last}");
            return class.ok_or_else(|| ModelError::refused(message()));
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
                    let numbers = numbers.join(", ");
                    return Err(ModelError::refused_with(
                        format!("`{wanted}` is the name of several classes: {numbers}"),
                        "give the number of the one that you mean",
                    ));
                }
            }
        }
        let message = format!("there is no class `{wanted}`");
        Err(ModelError::refused_with(message, self.suggest(&asked)))
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
        for (wanted, class) in [
            ("207", 207),
            ("Golden Retriever", 207),
            ("Tinca tinca", 0),
            ("missile", 657), // its first name, and another's second
        ] {
            assert_eq!(classes.find(wanted).unwrap(), class, "{wanted}");
        }
        assert_eq!(classes.label(207), "golden retriever");
    }

    #[test]
    fn wrong_classes_are_explained() {
        let manifest = imagenet();
        let wrong = |class: &str| manifest.class_names().find(class).unwrap_err();
        for (class, message) in [
            ("1000", "there is no class 1000: they go from 0 to 999"),
            ("-1", "there is no class -1: they go from 0 to 999"),
            ("crane", "`crane` is the name of several classes: 134, 517"),
        ] {
            assert_eq!(wrong(class).to_string(), message);
        }
        assert_eq!(
            wrong("golden retreiver").hint(),
            Some("did you mean `golden retriever`?")
        );
        assert!(wrong("terrier").hint().unwrap().contains("toy terrier"));
    }
}
