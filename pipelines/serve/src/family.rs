//! Jobs that may be painted together: the same pipeline but for prompts and seed.

use nextscale_files::checksum;
use nextscale_pipelines::PipelineError;
use nextscale_pipelines::stages::PromptsParams;
use nextscale_pipelines::yaml::Node;

use crate::request::set;

/// The stages of images from prompts: none of them looks at more than one sample.
const TOGETHER: [&str; 6] = [
    "prompts",
    "text-encoder",
    "text-to-image",
    "decode",
    "keep-original",
    "save",
];

/// What is the same for jobs that may be painted together; empty for a pipeline that is painted alone.
pub(crate) fn family(root: &Node) -> String {
    let Some(source) = source(root) else {
        return String::new();
    };
    let mut rest = root.clone();
    rest.remove("seed");
    // Neither the prompts, which differ, nor how they were written.
    if set(&mut rest, &["stages", &source.name, "prompts"], &()).is_err() {
        return String::new();
    }
    checksum::of_bytes(rest.to_yaml().as_bytes())
}

/// How many images a pipeline makes; one if that cannot be told.
pub(crate) fn images(root: &Node) -> usize {
    source(root).map_or(1, |source| {
        source.params.prompts.len() * source.params.count as usize
    })
}

/// One pipeline for several jobs of a family, with the prompts of all in the order of the jobs.
///
/// # Errors
/// Pipelines that are of no family.
pub(crate) fn merged(pipelines: &[&Node]) -> Result<Node, PipelineError> {
    let alone = || PipelineError::refused("these pipelines cannot run together");
    let (mut prompts, mut seeds) = (vec![], vec![]);
    let mut images = 0;
    for root in pipelines {
        let Source { params, .. } = source(root).ok_or_else(alone)?;
        let seed = root.get("seed").and_then(|seed| seed.read::<u64>().ok());
        let mut seed = seed.ok_or_else(alone)?;
        images += params.prompts.len() * params.count as usize;
        for prompt in params.prompts {
            prompts.push(prompt);
            seeds.push(seed);
            seed = seed.wrapping_add(params.count.into());
        }
    }
    let mut root = (*pipelines.first().ok_or_else(alone)?).clone();
    let Source {
        name, generator, ..
    } = source(&root).ok_or_else(alone)?;
    root.remove("seed");
    set(&mut root, &["stages", &name, "prompts"], &prompts)?;
    set(&mut root, &["stages", &name, "seeds"], &seeds)?;
    set(&mut root, &["stages", &generator, "batch"], &images)?;
    Ok(root)
}

/// The stage of the prompts.
struct Source {
    name: String,
    params: PromptsParams,
    /// The stage that generates.
    generator: String,
}

fn source(root: &Node) -> Option<Source> {
    let stages = root.get("stages")?.entries();
    let kind = |node: &Node| node.get("stage").and_then(Node::as_str).map(str::to_owned);
    let known = |node| kind(node).is_some_and(|kind| TOGETHER.contains(&kind.as_str()));
    if !stages.iter().all(|entry| known(&entry.node)) {
        return None;
    }
    let only = |wanted: &str| {
        let mut of_kind = stages
            .iter()
            .filter(|entry| kind(&entry.node).as_deref() == Some(wanted));
        of_kind.next().filter(|_| of_kind.next().is_none())
    };
    let (prompts, generator) = (only("prompts")?, only("text-to-image")?);
    let mut params = prompts.node.clone();
    params.remove("stage");
    let params: PromptsParams = params.read().ok()?;
    let is_list = !params.prompts.is_empty()
        && params.file.is_none()
        && params.seeds.is_empty()
        && !params.story;
    is_list.then(|| Source {
        name: prompts.key.clone(),
        params,
        generator: generator.key.clone(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pipeline(prompts: &str, seed: u64, more: &str) -> Node {
        let yaml = format!(
            "seed: {seed}\nstages:\n  p: {{stage: prompts, prompts: {prompts}, count: 2}}\n  t: {{stage: text-encoder, from: p}}\n  l: {{stage: text-to-image, from: t{more}}}\n  i: {{stage: decode, from: l}}\n  s: {{stage: save, from: i}}\n"
        );
        Node::parse(&yaml, "test").unwrap()
    }

    #[test]
    fn jobs_of_a_family_become_one_pipeline() {
        let (one, two) = (pipeline("[a]", 7, ""), pipeline("[b, c]", 1, ""));
        assert!(!family(&one).is_empty());
        assert_eq!(family(&one), family(&two));
        assert_ne!(family(&one), family(&pipeline("[a]", 7, ", width: 32")));
        assert_eq!((images(&one), images(&two)), (2, 4));
        let root = merged(&[&one, &two]).unwrap();
        let yaml = root.to_yaml();
        let source = source(&root);
        assert!(source.is_none(), "a merged pipeline is not merged again");
        let at = |path: &[&str]| path.iter().fold(&root, |node, key| node.get(key).unwrap());
        let prompts: Vec<String> = at(&["stages", "p", "prompts"]).read().unwrap();
        let seeds: Vec<u64> = at(&["stages", "p", "seeds"]).read().unwrap();
        let batch: usize = at(&["stages", "l", "batch"]).read().unwrap();
        assert_eq!(prompts, ["a", "b", "c"], "{yaml}");
        assert_eq!((seeds, batch), (vec![7, 1, 3], 6), "{yaml}");
    }

    #[test]
    fn others_are_painted_alone() {
        let video =
            "stages:\n  p: {stage: prompts, prompts: [a]}\n  l: {stage: text-to-video, from: p}";
        assert_eq!(family(&Node::parse(video, "test").unwrap()), "");
    }
}
