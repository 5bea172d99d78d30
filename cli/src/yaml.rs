//! YAML and JSON documents of other programs, with the line of each value.
//!
//! JSON is read as YAML, which contains it. A document is read as a whole, so its size is limited,
//! and so is what its aliases expand to.

use std::collections::{HashMap, HashSet};

use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, Span};
use serde_json::{Map, Number, Value};
use thiserror::Error;

/// The values of a document, aliases expanded.
const MAX_VALUES: usize = 1_000_000;

/// The depth of lists and objects in each other.
const MAX_DEPTH: usize = 128;

/// A value and its place.
#[derive(Debug, Clone)]
pub(crate) struct Tree {
    /// Counted from 1.
    pub(crate) line: usize,
    pub(crate) node: Node,
}

#[derive(Debug, Clone)]
pub(crate) enum Node {
    /// Anything that is neither a list nor an object.
    Scalar(Value),
    List(Vec<Tree>),
    Object(Vec<(String, Tree)>),
}

/// Why a text is not a document.
#[derive(Debug, Error)]
pub(crate) enum YamlError {
    #[error("line {line}: not valid YAML: {reason}")]
    Syntax { line: usize, reason: String },
    #[error("line {line}: expected text as the name of a field")]
    Name { line: usize },
    #[error("line {line}: the field {name:?} is there twice; remove one")]
    Duplicate { line: usize, name: String },
    #[error("line {line}: the alias has no anchor before it")]
    Alias { line: usize },
    #[error(
        "line {line}: more than {MAX_VALUES} values, with what aliases repeat; is it the right file?"
    )]
    TooMany { line: usize },
    #[error(
        "line {line}: more than {MAX_DEPTH} lists and objects in each other; is it the right file?"
    )]
    TooDeep { line: usize },
}

impl From<ScanError> for YamlError {
    fn from(error: ScanError) -> Self {
        Self::Syntax { line: error.marker().line(), reason: error.info().to_owned() }
    }
}

/// Which words are booleans.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Booleans {
    /// `true` and `false`.
    #[default]
    Yaml12,
    /// Also `yes`, `no`, `on` and `off`, as YAML 1.1 reads them. Envoy and Kubernetes do.
    Yaml11,
}

/// Parses all documents of a text.
pub(crate) fn parse(text: &str, booleans: Booleans) -> Result<Vec<Tree>, YamlError> {
    let mut builder = Builder { booleans, ..Builder::default() };
    for event in Parser::new_from_str(text) {
        let (event, span) = event?;
        builder.add(event, span)?;
    }
    Ok(builder.documents)
}

#[derive(Default)]
struct Builder {
    booleans: Booleans,
    documents: Vec<Tree>,
    open: Vec<Open>,
    anchors: HashMap<usize, (Tree, usize)>,
    values: usize,
}

/// A list or an object whose end was not read yet.
struct Open {
    tree: Tree,
    anchor: usize,
    /// The names of the object so far, and the one whose value comes next.
    names: HashSet<String>,
    name: Option<String>,
    /// The number of values before this one.
    before: usize,
}

impl Builder {
    fn add(&mut self, event: Event<'_>, span: Span) -> Result<(), YamlError> {
        let line = span.start.line();
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let is_text = tag.is_some_and(|tag| tag.suffix == "str");
                let value = match style {
                    ScalarStyle::Plain if !is_text => plain(&text, self.booleans),
                    _ => Value::String(text.into_owned()),
                };
                self.count(1, line)?;
                self.close(Tree { line, node: Node::Scalar(value) }, anchor, 1)
            }
            Event::SequenceStart(anchor, _) => self.open(Node::List(Vec::new()), anchor, line),
            Event::MappingStart(anchor, _) => self.open(Node::Object(Vec::new()), anchor, line),
            Event::SequenceEnd | Event::MappingEnd => {
                let Some(Open { tree, anchor, before, .. }) = self.open.pop() else {
                    return Ok(());
                };
                let size = self.values - before;
                self.close(tree, anchor, size)
            }
            Event::Alias(anchor) => {
                let known = self.anchors.get(&anchor);
                let (tree, size) = known.ok_or(YamlError::Alias { line })?;
                // An anchor that contains itself is not complete, so it is not known here.
                let (tree, size) = (tree.clone(), *size);
                self.count(size, line)?;
                self.close(Tree { line, ..tree }, 0, size)
            }
            Event::Nothing
            | Event::StreamStart
            | Event::StreamEnd
            | Event::DocumentStart(_)
            | Event::DocumentEnd => Ok(()),
        }
    }

    fn count(&mut self, values: usize, line: usize) -> Result<(), YamlError> {
        self.values += values;
        if self.values > MAX_VALUES { Err(YamlError::TooMany { line }) } else { Ok(()) }
    }

    fn open(&mut self, node: Node, anchor: usize, line: usize) -> Result<(), YamlError> {
        if self.open.len() >= MAX_DEPTH {
            return Err(YamlError::TooDeep { line });
        }
        let before = self.values;
        self.count(1, line)?;
        self.open.push(Open {
            tree: Tree { line, node },
            anchor,
            names: HashSet::new(),
            name: None,
            before,
        });
        Ok(())
    }

    /// Adds a complete value to the list or object around it.
    fn close(&mut self, tree: Tree, anchor: usize, size: usize) -> Result<(), YamlError> {
        if anchor > 0 {
            self.anchors.insert(anchor, (tree.clone(), size));
        }
        let Some(parent) = self.open.last_mut() else {
            self.documents.push(tree);
            return Ok(());
        };
        match &mut parent.tree.node {
            Node::List(items) => items.push(tree),
            Node::Object(fields) => match parent.name.take() {
                Some(name) => fields.push((name, tree)),
                None => {
                    let line = tree.line;
                    let name = match tree.node {
                        Node::Scalar(Value::String(name)) => name,
                        Node::Scalar(value) => value.to_string(),
                        _ => return Err(YamlError::Name { line }),
                    };
                    if !parent.names.insert(name.clone()) {
                        return Err(YamlError::Duplicate { line, name });
                    }
                    parent.name = Some(name);
                }
            },
            Node::Scalar(_) => {}
        }
        Ok(())
    }
}

/// A scalar without quotes, as the core schema of YAML 1.2 reads it (section 10.3.2).
fn plain(text: &str, booleans: Booleans) -> Value {
    if booleans == Booleans::Yaml11 {
        match text.to_ascii_lowercase().as_str() {
            "yes" | "on" => return Value::Bool(true),
            "no" | "off" => return Value::Bool(false),
            _ => {}
        }
    }
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Value::Null,
        "true" | "True" | "TRUE" => return Value::Bool(true),
        "false" | "False" | "FALSE" => return Value::Bool(false),
        _ => {}
    }
    let is_number = text.starts_with(|char: char| char.is_ascii_digit() || "-+.".contains(char));
    let number = is_number.then(|| serde_json::from_str::<Number>(text).ok()).flatten();
    number.map_or_else(|| Value::String(text.to_owned()), Value::Number)
}

impl Tree {
    /// The field of an object, under its name in snake case or in camel case, as Protobuf's JSON
    /// form allows both.
    pub(crate) fn get(&self, name: &str) -> Option<&Tree> {
        let Node::Object(fields) = &self.node else { return None };
        let is_field =
            |known: &str| known == name || (known.len() < name.len() && camel(name) == known);
        fields.iter().find(|(known, _)| is_field(known)).map(|(_, tree)| tree)
    }

    /// The value below several fields.
    pub(crate) fn at(&self, names: &[&str]) -> Option<&Tree> {
        names.iter().try_fold(self, |tree, name| tree.get(name))
    }

    /// The names of the fields of an object.
    pub(crate) fn names(&self) -> impl Iterator<Item = &String> {
        let fields = match &self.node {
            Node::Object(fields) => fields.as_slice(),
            _ => &[],
        };
        fields.iter().map(|(name, _)| name)
    }

    pub(crate) fn text(&self) -> Option<&str> {
        match &self.node {
            Node::Scalar(Value::String(text)) => Some(text),
            _ => None,
        }
    }

    pub(crate) fn list(&self) -> &[Tree] {
        match &self.node {
            Node::List(items) => items,
            _ => &[],
        }
    }

    /// The values directly in this one.
    pub(crate) fn children(&self) -> Vec<&Tree> {
        match &self.node {
            Node::Scalar(_) => Vec::new(),
            Node::List(items) => items.iter().collect(),
            Node::Object(fields) => fields.iter().map(|(_, tree)| tree).collect(),
        }
    }

    /// Whether this value or one in it passes `test`.
    pub(crate) fn any(&self, test: &dyn Fn(&Tree) -> bool) -> bool {
        test(self) || self.children().into_iter().any(|child| child.any(test))
    }

    pub(crate) fn to_json(&self) -> Value {
        match &self.node {
            Node::Scalar(value) => value.clone(),
            Node::List(items) => Value::Array(items.iter().map(Self::to_json).collect()),
            Node::Object(fields) => {
                let fields = fields.iter().map(|(name, tree)| (name.clone(), tree.to_json()));
                Value::Object(fields.collect::<Map<_, _>>())
            }
        }
    }
}

fn camel(name: &str) -> String {
    let mut upper = false;
    name.chars()
        .filter_map(|char| {
            if char == '_' {
                upper = true;
                return None;
            }
            let char = if upper { char.to_ascii_uppercase() } else { char };
            upper = false;
            Some(char)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn json(text: &str) -> Value {
        parse(text, Booleans::Yaml12).expect("valid").remove(0).to_json()
    }

    #[test]
    fn yaml_and_json_become_the_same_values() {
        let expected =
            json!({ "a": [1, -2.5, "x", null, true, "1"], "b": { "c": "two\nlines\n" } });
        assert_eq!(json(&expected.to_string()), expected);
        let yaml = "a: [1, -2.5, x, ~, true, \"1\"] # a comment\nb:\n  c: |\n    two\n    lines\n";
        assert_eq!(json(yaml), expected);
        assert_eq!(json("{\n\t\"a\": 1\n}"), json!({ "a": 1 }));
        assert_eq!(json("a: &x [1]\nb: *x"), json!({ "a": [1], "b": [1] }));
        assert_eq!(json("on: off"), json!({ "on": "off" }));
        let yaml11 = parse("on: off\nx: \"off\"", Booleans::Yaml11).expect("valid").remove(0);
        assert_eq!(yaml11.to_json(), json!({ "true": false, "x": "off" }));
        assert_eq!(parse("a: 1\n---\nb: 2\n", Booleans::Yaml12).expect("valid").len(), 2);
        assert!(parse("", Booleans::Yaml12).expect("valid").is_empty());
    }

    #[test]
    fn lines_and_fields_are_found() {
        let tree = parse("one:\n  two_three:\n    - x\n    - y\n", Booleans::Yaml12)
            .expect("valid")
            .remove(0);
        let list = tree.at(&["one", "two_three"]).expect("a field");
        assert_eq!(list.list().iter().map(|item| item.line).collect::<Vec<_>>(), [3, 4]);
        let tree = parse("{\"twoThree\": 1}", Booleans::Yaml12).expect("valid").remove(0);
        assert!(tree.get("two_three").is_some() && tree.get("three").is_none());
    }

    #[test]
    fn hostile_documents_are_rejected() {
        let laughs: String = (1..=9)
            .map(|level| {
                let items = vec![format!("*a{}", level - 1); 10].join(",");
                format!("a{level}: &a{level} [{items}]\n")
            })
            .collect();
        for (text, expected) in [
            (format!("a0: &a0 lol\n{laughs}"), "more than 1000000 values"),
            ("[".repeat(200), "line 1: more than 128 lists"),
            ("[".repeat(100_000), "line 1: not valid YAML: recursion limit exceeded"),
            ("a: *nothing".to_owned(), "line 1"),
            ("a: &a [*a]".to_owned(), "line 1: the alias has no anchor before it"),
            ("a: 1\na: 2".to_owned(), "line 2: the field \"a\" is there twice; remove one"),
            ("[a]: 1".to_owned(), "line 1: expected text as the name of a field"),
            ("a:\n\tb: 1".to_owned(), "line 2: not valid YAML"),
            ("{\"a\": 1".to_owned(), "not valid YAML"),
        ] {
            let error = parse(&text, Booleans::Yaml12).expect_err(expected).to_string();
            assert!(error.contains(expected), "expected {expected}, got {error}");
        }
    }
}
