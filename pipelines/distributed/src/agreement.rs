//! What must be the same on all ranks.

use nextscale_var_core::collective::Collective;

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
