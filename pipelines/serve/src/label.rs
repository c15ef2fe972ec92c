//! What a pipeline shows, in words.

use nextscale_pipelines::stages::{ClassRef, ClassesParams};
use nextscale_pipelines::yaml::Node;

/// Its prompts or classes.
pub(crate) fn label(root: &Node) -> String {
    let stages = root.get("stages").map(Node::entries).unwrap_or_default();
    let mut words: Vec<String> = vec![];
    for stage in stages {
        let prompts = stage
            .node
            .get("prompts")
            .map(Node::items)
            .unwrap_or_default();
        words.extend(prompts.iter().map(|prompt| text(Some(prompt))));
        let kind = stage.node.get("stage").and_then(Node::as_str);
        if kind == Some("classes") {
            let mut params = stage.node.clone();
            params.remove("stage");
            let classes = params.read::<ClassesParams>();
            let classes = classes.map(|params| params.classes).unwrap_or_default();
            words.extend(classes.into_iter().map(|class| match class {
                ClassRef::Number(number) => number.to_string(),
                ClassRef::Name(name) => name,
            }));
        }
    }
    words.join("\n")
}

pub(crate) fn text(node: Option<&Node>) -> String {
    node.and_then(Node::as_str).unwrap_or_default().to_owned()
}
