//! What must be the same on all ranks.

use nextscale_var_core::collective::Collective;
use serde_json::Value;

use crate::error::DistributedError;

/// Something that must be the same on all ranks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fact {
    /// What it is, as a sentence begins: `The version`.
    pub what: String,
    /// Its value.
    pub value: String,
}

impl Fact {
    /// A fact.
    pub fn new(what: &str, value: impl Into<String>) -> Self {
        Self {
            what: what.to_owned(),
            value: value.into(),
        }
    }
}

impl Fact {
    /// Every value of a tree of keys, as a fact about its key in `tree`: `` `train.batch` of the configuration ``.
    pub fn of_keys(value: &Value, tree: &str) -> Vec<Self> {
        let mut facts = Vec::new();
        flatten(String::new(), value, &mut |key, value| {
            facts.push(Self::new(
                &format!("`{key}` of the {tree}"),
                value.to_string(),
            ));
        });
        facts
    }
}

fn flatten(key: String, value: &Value, found: &mut dyn FnMut(&str, &Value)) {
    let below = |name: &str| match key.as_str() {
        "" => name.to_owned(),
        key => format!("{key}.{name}"),
    };
    match value {
        Value::Object(keys) => {
            let keys = keys.iter();
            keys.for_each(|(name, value)| flatten(below(name), value, found));
        }
        Value::Array(items) => {
            let items = items.iter().enumerate();
            items.for_each(|(i, value)| flatten(below(&i.to_string()), value, found));
        }
        _ => found(&key, value),
    }
}

/// Compares facts between all ranks. Every rank must call it, with facts of the same names.
///
/// # Errors
/// On every rank: the first fact that differs, with both values.
pub fn agree(ranks: &dyn Collective, facts: &[Fact]) -> Result<(), DistributedError> {
    let own: Vec<[&str; 2]> = facts
        .iter()
        .map(|fact| [fact.what.as_str(), fact.value.as_str()])
        .collect();
    let all = ranks.exchange(&serde_json::to_vec(&own).unwrap_or_default())?;
    let read =
        |bytes: &Vec<u8>| serde_json::from_slice::<Vec<[String; 2]>>(bytes).unwrap_or_default();
    let all: Vec<_> = all.iter().map(read).collect();
    let Some((first, others)) = all.split_first() else {
        return Ok(());
    };
    for (rank, other) in others.iter().enumerate() {
        let missing = ["The version".to_owned(), "another one".to_owned()];
        let pairs = (0..first.len().max(other.len())).map(|at| {
            let of = |facts: &[[String; 2]]| facts.get(at).unwrap_or(&missing).clone();
            (of(first), of(other))
        });
        for ([what, first], [other_what, other]) in pairs {
            if what != other_what || first != other {
                return Err(DistributedError::Disagree {
                    what,
                    first,
                    rank: rank + 1,
                    other,
                });
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_key_is_a_fact() {
        let tree = json!({ "data": "d", "scales": [1, 2], "train": { "budget": { "steps": 4 } } });
        let facts = Fact::of_keys(&tree, "configuration");
        let texts: Vec<String> = facts
            .iter()
            .map(|f| format!("{} {}", f.what, f.value))
            .collect();
        assert_eq!(
            texts,
            [
                "`data` of the configuration \"d\"",
                "`scales.0` of the configuration 1",
                "`scales.1` of the configuration 2",
                "`train.budget.steps` of the configuration 4",
            ]
        );
    }
}
