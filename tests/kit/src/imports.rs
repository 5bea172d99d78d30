//! Reads which files of a crate import each other, and finds circles among them.
//!
//! An import is a path through `crate`, `self`, `super`, a child module or a name that `use`
//! brought into the file. A re-export counts for the file that defines the item: a child that
//! imports an item of its sibling through the parent does not import the parent. Tests inside the
//! files do not count.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::{Path, PathBuf};
use std::{fs, io};

use proc_macro2::{Delimiter, TokenStream, TokenTree};

/// A path in the code, from the root of the crate: modules, then perhaps an item.
type Segments = Vec<String>;

/// The files of a crate and their imports.
#[derive(Debug, Default)]
pub struct Imports {
    /// The files, by their module.
    files: BTreeMap<Segments, File>,
}

#[derive(Debug, Default)]
struct File {
    path: PathBuf,
    /// The paths behind the names that `use` brings into the file, by name.
    names: BTreeMap<String, Segments>,
    /// Child modules, those in the file included.
    children: BTreeSet<String>,
    /// All paths in the file.
    paths: Vec<Segments>,
}

impl Imports {
    /// Reads every `.rs` file below `src`.
    ///
    /// # Errors
    /// A file cannot be read, or is not Rust.
    pub fn read(src: &Path) -> io::Result<Self> {
        let mut imports = Self::default();
        let mut tests = Vec::new();
        let mut folders = vec![src.to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder)? {
                let path = entry?.path();
                if path.is_dir() {
                    folders.push(path);
                } else if path.extension().is_some_and(|extension| extension == "rs") {
                    let text = fs::read_to_string(&path)?;
                    let relative = path.strip_prefix(src).unwrap_or(&path).to_owned();
                    imports.read_file(relative, &text, &mut tests)?;
                }
            }
        }
        imports.files.retain(|module, _| !tests.iter().any(|test| module.starts_with(test)));
        Ok(imports)
    }

    fn read_file(
        &mut self,
        path: PathBuf,
        text: &str,
        tests: &mut Vec<Segments>,
    ) -> io::Result<()> {
        let tokens: TokenStream = text.parse().map_err(|error| {
            io::Error::new(io::ErrorKind::InvalidData, format!("{}: {error}", path.display()))
        })?;
        let module = module_of(&path);
        let mut reader = Reader { file: File { path, ..File::default() }, tests };
        reader.read(&module, tokens);
        self.files.insert(module, reader.file);
        Ok(())
    }

    /// The number of files.
    pub fn files(&self) -> usize {
        self.files.len()
    }

    /// The files that `file` imports.
    fn imported(&self, module: &Segments, file: &File) -> BTreeSet<Segments> {
        let resolved = file.paths.iter().filter_map(|path| self.defining_file(path, 0));
        resolved.filter(|target| target != module).collect()
    }

    /// The module of the file that defines the item at `path`. Follows re-exports.
    fn defining_file(&self, path: &[String], depth: usize) -> Option<Segments> {
        // A re-export of a re-export, and so on; the limit ends a circle among them.
        const DEPTH: usize = 16;
        let (module, file) =
            (0..=path.len()).rev().find_map(|length| self.files.get_key_value(&path[..length]))?;
        let rest = &path[module.len()..];
        match rest.first().and_then(|name| file.names.get(name)) {
            Some(target) if depth < DEPTH => {
                let target: Segments = target.iter().chain(&rest[1..]).cloned().collect();
                self.defining_file(&target, depth + 1)
            }
            _ => Some(module.clone()),
        }
    }

    /// Every group of files that import each other, each as the shortest circle in it: `a.rs → b.rs
    /// → a.rs`.
    pub fn circles(&self) -> Vec<String> {
        let imports: BTreeMap<&Segments, BTreeSet<Segments>> =
            self.files.iter().map(|(module, file)| (module, self.imported(module, file))).collect();
        let mut seen = BTreeSet::new();
        let mut circles = Vec::new();
        for module in self.files.keys() {
            if seen.contains(module) {
                continue;
            }
            if let Some(circle) = shortest_circle(module, &imports) {
                let name = |module: &Segments| self.files[module].path.display().to_string();
                let names: Vec<String> = circle.iter().chain([module]).map(name).collect();
                circles.push(names.join(" → "));
                seen.extend(circle);
            }
        }
        circles
    }
}

/// The shortest way from `module` back to itself, without the last step.
fn shortest_circle(
    module: &Segments,
    imports: &BTreeMap<&Segments, BTreeSet<Segments>>,
) -> Option<Vec<Segments>> {
    let mut before: BTreeMap<&Segments, &Segments> = BTreeMap::new();
    let mut queue = VecDeque::from([module]);
    while let Some(from) = queue.pop_front() {
        for to in &imports[from] {
            if to == module {
                let mut circle = vec![from.clone()];
                while let Some(previous) = before.get(&circle[circle.len() - 1]) {
                    circle.push((*previous).clone());
                }
                circle.reverse();
                return Some(circle);
            }
            if !before.contains_key(to) {
                before.insert(to, from);
                queue.push_back(to);
            }
        }
    }
    None
}

/// `a/b.rs` and `a/b/mod.rs` are the module `a::b`; `lib.rs` and `main.rs` are the root.
fn module_of(path: &Path) -> Segments {
    let stem = path.with_extension("");
    let mut module: Segments =
        stem.iter().map(|segment| segment.to_string_lossy().into_owned()).collect();
    if module.last().is_some_and(|last| ["lib", "main", "mod"].contains(&last.as_str())) {
        module.pop();
    }
    module
}

struct Reader<'t> {
    file: File,
    /// The modules that `#[cfg(test)]` hides.
    tests: &'t mut Vec<Segments>,
}

impl Reader<'_> {
    fn read(&mut self, module: &Segments, tokens: TokenStream) {
        let tokens: Vec<TokenTree> = tokens.into_iter().collect();
        // Children and imported names first, because code above a `use` can refer to them.
        self.read_items(module, &tokens);
        self.read_paths(module, &tokens);
    }

    /// Reads `mod name;` and `use …;`.
    fn read_items(&mut self, module: &Segments, tokens: &[TokenTree]) {
        for (at, token) in tokens.iter().enumerate() {
            match (word(token).as_deref(), &tokens[at + 1..]) {
                (Some("mod"), [name, end, ..]) if is_punct(end, ';') => {
                    let Some(name) = word(name) else { continue };
                    if is_test(&tokens[..at]) {
                        self.tests.push(join(module, &name));
                    }
                    self.file.children.insert(name);
                }
                (Some("use"), rest) => {
                    let end = rest.iter().position(|token| is_punct(token, ';'));
                    self.read_use(module, &[], &rest[..end.unwrap_or(rest.len())]);
                }
                _ => {}
            }
        }
    }

    /// Reads `a::b::{c, d as e}` after `prefix`.
    fn read_use(&mut self, module: &Segments, prefix: &[String], tree: &[TokenTree]) {
        let mut path = prefix.to_vec();
        let mut tokens = tree.iter().peekable();
        while let Some(token) = tokens.next() {
            match token {
                TokenTree::Group(group) => {
                    let inner: Vec<TokenTree> = group.stream().into_iter().collect();
                    for part in inner.split(|token| is_punct(token, ',')) {
                        self.read_use(module, &path, part);
                    }
                    return;
                }
                _ if is_punct(token, '*') => {
                    path.push("*".to_owned());
                }
                _ => match word(token).as_deref() {
                    Some("as") => {
                        let name = tokens.next().and_then(word);
                        self.add_name(module, &path, name);
                        return;
                    }
                    Some("self") if !path.is_empty() => {}
                    Some(segment) => path.push(segment.to_owned()),
                    None => {}
                },
            }
        }
        let name = path.last().cloned();
        self.add_name(module, &path, name);
    }

    fn add_name(&mut self, module: &Segments, path: &[String], name: Option<String>) {
        let Some(path) = self.absolute(module, path) else { return };
        if let Some(name) = name {
            self.file.names.insert(name, path.clone());
        }
        self.file.paths.push(path);
    }

    /// Reads every other path, such as `super::reply(…)`.
    fn read_paths(&mut self, module: &Segments, tokens: &[TokenTree]) {
        let mut at = 0;
        while at < tokens.len() {
            match &tokens[at] {
                // `pub(in super::super)` names a module and imports nothing.
                TokenTree::Group(group)
                    if group.delimiter() == Delimiter::Parenthesis
                        && at > 0
                        && word(&tokens[at - 1]).as_deref() == Some("pub") => {}
                TokenTree::Group(group) => {
                    let name = (at > 1 && word(&tokens[at - 2]).as_deref() == Some("mod"))
                        .then(|| word(&tokens[at - 1]))
                        .flatten();
                    let inner: Vec<TokenTree> = group.stream().into_iter().collect();
                    match name {
                        Some(_) if is_test(&tokens[..at - 2]) => {}
                        Some(name) => {
                            self.file.children.insert(name.clone());
                            let module = join(module, &name);
                            self.read_items(&module, &inner);
                            self.read_paths(&module, &inner);
                        }
                        None => {
                            // A `use` in a function, too.
                            self.read_items(module, &inner);
                            self.read_paths(module, &inner);
                        }
                    }
                }
                token if word(token).as_deref() == Some("use") => {
                    let end = tokens[at..].iter().position(|token| is_punct(token, ';'));
                    at += end.unwrap_or(tokens.len() - at);
                }
                token => {
                    let continues = at > 0 && is_punct(&tokens[at - 1], ':');
                    if let Some(first) = word(token).filter(|_| !continues) {
                        let mut path = vec![first];
                        while let [colon, second, next, ..] = &tokens[at + 1..]
                            && is_punct(colon, ':')
                            && is_punct(second, ':')
                            && let Some(next) = word(next)
                        {
                            path.push(next);
                            at += 3;
                        }
                        if path.len() > 1 {
                            self.file.paths.extend(self.absolute(module, &path));
                        }
                    }
                }
            }
            at += 1;
        }
    }

    /// The path from the root of the crate; `None` for other crates.
    fn absolute(&self, module: &Segments, path: &[String]) -> Option<Segments> {
        let mut base = module.clone();
        let mut rest = path;
        match rest.first()?.as_str() {
            "crate" => {
                base.clear();
                rest = &rest[1..];
            }
            "self" => rest = &rest[1..],
            "super" => {
                while rest.first().is_some_and(|segment| segment == "super") {
                    base.pop();
                    rest = &rest[1..];
                }
            }
            first if self.file.children.contains(first) => {}
            first => {
                let target = self.file.names.get(first)?;
                return Some(target.iter().chain(&rest[1..]).cloned().collect());
            }
        }
        base.extend_from_slice(rest);
        Some(base)
    }
}

fn join(module: &Segments, name: &str) -> Segments {
    module.iter().cloned().chain([name.to_owned()]).collect()
}

fn word(token: &TokenTree) -> Option<String> {
    let TokenTree::Ident(ident) = token else { return None };
    Some(ident.to_string().trim_start_matches("r#").to_owned())
}

fn is_punct(token: &TokenTree, wanted: char) -> bool {
    matches!(token, TokenTree::Punct(punct) if punct.as_char() == wanted)
}

/// Whether the tokens before an item end with `#[cfg(test)]`.
fn is_test(before: &[TokenTree]) -> bool {
    before.last().is_some_and(|token| {
        matches!(token, TokenTree::Group(_)) && token.to_string().replace(' ', "") == "[cfg(test)]"
    })
}
