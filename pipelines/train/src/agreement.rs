//! What the processes of one run must have in common.

use nextscale_data::Dataset;
use nextscale_distributed::{Fact, agree};
use nextscale_files::checksum;
use nextscale_var_core::collective::Collective;

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
    facts.extend(Fact::of_keys(
        &config::read(request.config)?,
        "configuration",
    ));
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
