//! What the processes of one run must have in common.

use std::path::Path;

use nextscale_data::Dataset;
use nextscale_distributed::{Fact, agree};
use nextscale_files::checksum;
use nextscale_var_core::collective::Collective;
use serde_json::Value;

use crate::config;
use crate::error::Result;
use crate::run::TrainRequest;

/// Compares program, configuration, budget and data set of all ranks.
pub(crate) fn check(
    ranks: &dyn Collective,
    request: &TrainRequest<'_>,
    set: &Dataset,
) -> Result<()> {
    let mut facts = vec![
        Fact::new("the version of the program", env!("CARGO_PKG_VERSION")),
        Fact::new("the budget of the command", format!("{:?}", request.budget)),
    ];
    facts.extend(of_config(request.config)?);
    let manifest = serde_json::to_vec(set.manifest()).unwrap_or_default();
    let what = format!("the data set `{}`", set.folder().display());
    let held = format!(
        "{} images, {:.12}",
        set.len(),
        checksum::of_bytes(&manifest)
    );
    facts.push(Fact::new(&what, held));
    Ok(agree(ranks, &facts)?)
}

/// Every key of a configuration with its value.
fn of_config(path: &Path) -> Result<Vec<Fact>> {
    let mut facts = Vec::new();
    flatten(String::new(), &config::read(path)?, &mut |key, value| {
        facts.push(Fact::new(
            &format!("`{key}` of the configuration"),
            value.to_string(),
        ));
    });
    Ok(facts)
}

fn flatten(key: String, value: &Value, found: &mut dyn FnMut(&str, &Value)) {
    let below = |name: &str| match key.as_str() {
        "" => name.to_owned(),
        key => format!("{key}.{name}"),
    };
    match value {
        Value::Object(keys) => keys
            .iter()
            .for_each(|(name, value)| flatten(below(name), value, found)),
        Value::Array(items) => {
            let items = items.iter().enumerate();
            items.for_each(|(i, value)| flatten(below(&i.to_string()), value, found));
        }
        _ => found(&key, value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_is_a_fact() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run.yaml");
        std::fs::write(
            &path,
            "data: d\ntrain: { budget: { steps: 4 } }\nscales: [1, 2]\n",
        )
        .unwrap();
        let facts = of_config(&path).unwrap();
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
