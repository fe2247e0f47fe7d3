//! Which routes a topic concerns: a tree of the levels of their patterns, so that a message costs what its own routes cost, however many
//! others there are (`./dev bench e2e --only growth`).

use std::collections::HashMap;

use super::pattern::{Part, Pattern};

/// The patterns of some routes.
#[derive(Debug, Clone)]
pub struct Index {
    /// The first is above all levels. In one list, so that no pattern is too deep for a stack.
    nodes: Vec<Node>,
}

/// What patterns have in common up to some level.
#[derive(Debug, Clone, Default)]
struct Node {
    /// Behind a level with this text.
    literals: HashMap<Box<str>, usize>,
    /// Behind a level that may be any.
    one: Option<usize>,
    /// Routes that take whatever follows, also nothing.
    rest: Vec<usize>,
    /// Routes that end here.
    ends: Vec<usize>,
}

impl Index {
    /// Numbers routes from 0.
    pub fn of<'a>(patterns: impl Iterator<Item = &'a Pattern>) -> Self {
        let mut index = Self {
            nodes: vec![Node::default()],
        };
        for (route, pattern) in patterns.enumerate() {
            index.add(route, pattern);
        }
        index
    }

    /// The routes whose pattern matches `topic`, ascending.
    pub fn matching(&self, topic: &str) -> Vec<usize> {
        let mut found = Vec::new();
        // Nodes at which what is left of the topic has to go on. Each node is visited once at most.
        let mut open = vec![(0, Some(topic))];
        while let Some((at, left)) = open.pop() {
            let Some(node) = self.nodes.get(at) else { continue };
            // MQTT 5, 4.7.2: a wildcard as the first level does not match topics that begin with `$`.
            let takes_wildcards = at != 0 || !topic.starts_with('$');
            if takes_wildcards {
                found.extend(&node.rest);
            }
            let Some(left) = left else {
                found.extend(&node.ends);
                continue;
            };
            let (level, behind) = left
                .split_once('/')
                .map_or((left, None), |(level, behind)| (level, Some(behind)));
            open.extend(node.literals.get(level).map(|next| (*next, behind)));
            open.extend(node.one.filter(|_| takes_wildcards).map(|next| (next, behind)));
        }
        found.sort_unstable();
        found
    }

    fn add(&mut self, route: usize, pattern: &Pattern) {
        let mut at = 0;
        for part in pattern.parts() {
            if part == Part::Rest {
                if let Some(node) = self.nodes.get_mut(at) {
                    node.rest.push(route);
                }
                return;
            }
            at = self.next(at, part);
        }
        if let Some(node) = self.nodes.get_mut(at) {
            node.ends.push(route);
        }
    }

    /// The node behind one level, made if there is none yet.
    fn next(&mut self, at: usize, part: Part<'_>) -> usize {
        let new = self.nodes.len();
        let Some(node) = self.nodes.get_mut(at) else {
            return at;
        };
        let next = match part {
            Part::Literal(text) => *node.literals.entry(text.into()).or_insert(new),
            Part::One | Part::Rest => *node.one.get_or_insert(new),
        };
        if next == new {
            self.nodes.push(Node::default());
        }
        next
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn patterns(texts: &[impl AsRef<str>]) -> Vec<Pattern> {
        let parse = |text: &_| Pattern::parse(AsRef::<str>::as_ref(text)).expect("it is one");
        texts.iter().map(parse).collect()
    }

    #[test]
    fn routes_come_in_the_order_of_the_file() {
        let patterns = patterns(&["a/#", "b/+", "a/{x}", "+/b", "#", "a/b", "a/b/c", "a/b/{rest...}"]);
        let index = Index::of(patterns.iter());
        assert_eq!(index.matching("a/b"), [0, 2, 3, 4, 5, 7]);
        assert_eq!(index.matching("a"), [0, 4]);
        assert_eq!(index.matching(""), [4]);
        assert_eq!(index.matching("$SYS/b"), [0; 0]);
    }

    #[test]
    fn a_pattern_of_30000_levels_is_one() {
        let deep = "a/".repeat(30_000) + "b";
        let patterns = patterns(&[&deep]);
        let index = Index::of(patterns.iter());
        assert_eq!(index.matching(&deep), [0]);
        assert_eq!(index.matching(&"a/".repeat(30_000)), [0; 0]);
        drop(index);
    }

    fn level() -> impl Strategy<Value = &'static str> {
        prop_oneof![Just("a"), Just("b"), Just(""), Just("$c"), Just("+")]
    }

    fn pattern() -> impl Strategy<Value = String> {
        let levels = prop::collection::vec(level(), 1..5);
        (levels, any::<bool>()).prop_map(|(levels, ends_with_rest)| {
            let levels = levels.join("/");
            match ends_with_rest {
                true => levels + "/#",
                // A pattern is not empty.
                false if levels.is_empty() => "#".to_owned(),
                false => levels,
            }
        })
    }

    proptest! {
        #[test]
        fn what_the_index_finds_is_what_matches(
            texts in prop::collection::vec(pattern(), 0..20),
            topic in prop::collection::vec(prop_oneof![Just("a"), Just("b"), Just(""), Just("$c")], 1..6),
        ) {
            let (patterns, topic) = (patterns(&texts), topic.join("/"));
            let matching: Vec<usize> = patterns
                .iter()
                .enumerate()
                .filter(|(_, pattern)| pattern.matches(&topic).is_some())
                .map(|(route, _)| route)
                .collect();
            prop_assert_eq!(Index::of(patterns.iter()).matching(&topic), matching);
        }
    }
}
