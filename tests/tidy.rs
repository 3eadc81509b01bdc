//! Rules of the house that a compiler does not know: who may import whom, where `unsafe` may be,
//! how long things get, what is never left behind.
#![forbid(unsafe_code)]

#[path = "tidy/packages.rs"]
mod packages;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use packages::{LOADTEST, LOADTEST_USES, Package, SERVER, SIM};

/// Lines of a file past which one asks which idea wants its own name.
const FILE_LINES_MAX: usize = 500;

/// The same, for a function.
const FUNCTION_LINES_MAX: usize = 70;

/// What is longer, and how long it may be at most. Entries may shrink and go, never grow or come.
const LONG_FILES: &[(&str, usize)] = &[];
const LONG_FUNCTIONS: &[(&str, usize)] =
    &[("src/config/tests.rs: a_wrong_value_is_told_in_full", 121)];

/// Imports point one way. Every module stands in the table and imports what the table says, no more
/// and no less; names of other modules come by `use`, not as paths in the code.
#[test]
fn imports_point_one_way() {
    for package in [SERVER, LOADTEST, SIM] {
        let mut used: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for file in sources(package.folder).into_iter().filter(|file| !file.is_test) {
            let Some(module) = file.module(&package) else { continue };
            let imported = imports(&file, "crate").into_iter();
            let imported = imported.map(|path| path.split("::").next().unwrap_or("").to_owned());
            let others = imported.filter(|name| *name != module);
            used.entry(module.clone()).or_default().extend(others);
        }
        let table = package.may_import.iter().map(|(module, allowed)| {
            (module.to_string(), allowed.iter().map(|name| name.to_string()).collect())
        });
        let table: BTreeMap<String, BTreeSet<String>> = table.collect();
        let differences: Vec<_> =
            used.iter().filter(|(name, used)| table.get(*name) != Some(used)).collect();
        assert!(differences.is_empty(), "these import something else: {differences:#?}");
        assert_eq!(used.len(), table.len(), "a module of the table is gone");
        assert_no_cycle(&used);
    }
}

/// The load tester tests any server, and so uses of this one only its way into the kernel.
#[test]
fn the_load_tester_uses_little_of_the_server() {
    for file in sources(LOADTEST.folder) {
        let is_allowed =
            |path: &String| LOADTEST_USES.iter().any(|allowed| path.starts_with(allowed));
        let stray = imports(&file, "stentor").into_iter().find(|path| !is_allowed(path));
        assert_eq!(stray, None, "{}", file.path);
    }
}

/// No order of modules would put what is imported first if there were a cycle.
fn assert_no_cycle(imports: &BTreeMap<String, BTreeSet<String>>) {
    let mut left = imports.clone();
    while !left.is_empty() {
        let known: BTreeSet<&String> = left.keys().collect();
        let free = |needs: &BTreeSet<String>| !needs.iter().any(|need| known.contains(need));
        let next = left.iter().find(|(_, needs)| free(needs)).map(|(name, _)| name.clone());
        let next = next.unwrap_or_else(|| panic!("these import each other: {known:?}"));
        left.remove(&next);
    }
}

/// `unsafe` is forbidden at the root of every module but the islands, and so in all below it; where
/// there is no island, at the root of the crate. The word itself stands nowhere else.
#[test]
fn unsafe_stays_on_its_islands() {
    for package in [SERVER, LOADTEST, SIM] {
        for file in sources(package.folder) {
            let module = file.module(&package);
            if module.as_deref().is_some_and(|module| package.islands.contains(&module)) {
                continue;
            }
            if file.is_root(&package) {
                assert!(file.text.contains("\n#![forbid(unsafe_code)]\n"), "{}", file.path);
            }
            let stray = file.text.lines().find(|line| line.contains("unsafe {"));
            assert!(stray.is_none(), "{}: {stray:?}", file.path);
        }
    }
}

/// Files and functions stay short enough to be read at once, or get shorter.
#[test]
fn lengths_only_shrink() {
    let (mut files, mut functions) = (BTreeMap::new(), BTreeMap::new());
    let folders = [
        SERVER.folder,
        "tests",
        "benches",
        LOADTEST.folder,
        "loadtest/tests",
        SIM.folder,
        "sim/tests",
    ];
    for file in folders.into_iter().flat_map(sources) {
        files.insert(file.path.clone(), file.text.lines().count());
        for (name, lines) in function_lengths(&file.text) {
            let longest = functions.entry(format!("{}: {name}", file.path)).or_insert(0);
            *longest = lines.max(*longest);
        }
    }
    assert_ratchet(&files, FILE_LINES_MAX, LONG_FILES);
    assert_ratchet(&functions, FUNCTION_LINES_MAX, LONG_FUNCTIONS);
}

fn assert_ratchet(lengths: &BTreeMap<String, usize>, max: usize, allowed: &[(&str, usize)]) {
    let allowed_for = |name: &str| allowed.iter().find(|(allowed, _)| *allowed == name);
    let bound = |name: &str| allowed_for(name).map_or(max, |(_, lines)| *lines);
    let long: Vec<_> = lengths.iter().filter(|(name, lines)| **lines > bound(name)).collect();
    assert!(long.is_empty(), "longer than they may be: {long:#?}");
    let is_short = |(name, _): &&(&str, usize)| lengths.get(*name).is_some_and(|it| *it <= max);
    let short: Vec<_> = allowed.iter().filter(is_short).collect();
    assert!(short.is_empty(), "short now, so take them off the list: {short:?}");
    let gone = allowed.iter().find(|(name, _)| !lengths.contains_key(*name));
    assert!(gone.is_none(), "{gone:?} is no more: take it off the list");
}

/// Nothing is left undone, switched off, or tied to the machine that it was written on.
#[test]
fn nothing_is_left_behind() {
    let words = ["todo", "unimplemented", "dbg"].map(|word| format!("{word}!("));
    let places = ["work", "root", "home"].map(|place| format!("/{place}/"));
    let ignored = ["#[ign", "ore"].concat();
    let folders = [
        "src",
        "tests",
        "benches",
        "fuzz/fuzz_targets",
        "loadtest",
        "sim",
        "verify",
        "docs",
        "scripts",
    ];
    for file in folders.iter().flat_map(|folder| all_files(&root().join(folder))) {
        let Ok(text) = fs::read_to_string(&file) else { continue };
        for word in words.iter().chain(&places).chain([&ignored]) {
            let line = text.lines().find(|line| line.contains(word.as_str()));
            assert!(line.is_none(), "{}: {line:?}", file.display());
        }
    }
}

/// The operator's manual explains every setting by its name.
#[test]
fn every_setting_is_in_the_manual() {
    let manual = fs::read_to_string(root().join("docs/operations.md")).expect("the manual");
    for setting in stentor::config::SETTINGS {
        let name = format!("`{}`", setting.name);
        assert!(manual.contains(&name), "docs/operations.md does not name {name}");
    }
}

/// A file of Rust.
struct Source {
    /// From the project's root.
    path: String,
    text: String,
    /// Whether it is compiled for tests alone.
    is_test: bool,
}

impl Source {
    /// Where it is in the sources of its crate.
    fn inner(&self, package: &Package) -> &str {
        let inner = self.path.strip_prefix(package.folder);
        inner.expect("a source of the crate").trim_start_matches('/')
    }

    /// The module of the library, at its top, that it belongs to.
    fn module(&self, package: &Package) -> Option<String> {
        let module = self.inner(package).trim_end_matches(".rs").split('/').next()?;
        (!package.programs.contains(&module)).then(|| module.to_owned())
    }

    /// Whether its inner attributes hold for a whole module at the top, or, in a crate without
    /// islands, for the crate.
    fn is_root(&self, package: &Package) -> bool {
        let inner = self.inner(package);
        if package.islands.is_empty() {
            return ["lib.rs", "main.rs"].contains(&inner);
        }
        let is_top = !inner.contains('/') && inner != "lib.rs";
        is_top
            || (inner.ends_with("/mod.rs")
                && inner.matches('/').count() == 1
                && inner != "cli/mod.rs")
    }

    /// Without comments and without the tests at its end.
    fn code(&self) -> String {
        let tests = self.text.find("\n#[cfg(test)]\nmod tests {").unwrap_or(self.text.len());
        let lines = self.text[..tests].lines();
        lines
            .filter(|line| !line.trim_start().starts_with("//"))
            .map(|line| [line, "\n"].concat())
            .collect()
    }
}

/// What the code of a file uses of a crate, as paths below it: all of it comes by `use`.
fn imports(file: &Source, root: &str) -> BTreeSet<String> {
    let (code, root) = (file.code(), format!("{root}::"));
    let beginning = format!("use {root}");
    let mut statements = code.split(&beginning);
    let mut rest = statements.next().unwrap_or_default().to_owned();
    let mut imports = BTreeSet::new();
    for statement in statements {
        let (tree, behind) = statement.split_once(';').expect("a statement ends");
        imports.extend(paths(tree));
        rest.push_str(behind);
    }
    // A macro cannot know what is imported where it is used.
    let stray = rest.lines().find(|line| line.contains(&root) && !line.contains("$crate::"));
    assert!(stray.is_none(), "{}: import it with `use`: {stray:?}", file.path);
    imports
}

/// `a::{b, c::{d, e}}` is `a::b`, `a::c::d` and `a::c::e`.
fn paths(tree: &str) -> Vec<String> {
    let Some((stem, list)) = tree.trim().split_once('{') else {
        return vec![tree.trim().to_owned()];
    };
    let (mut depth, mut parts) = (0, vec![String::new()]);
    for letter in list.strip_suffix('}').expect("a list ends").chars() {
        match letter {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(String::new());
                continue;
            }
            _ => {}
        }
        parts.last_mut().expect("one at least").push(letter);
    }
    let parts = parts.iter().filter(|part| !part.trim().is_empty());
    parts.flat_map(|part| paths(part)).map(|path| format!("{stem}{path}")).collect()
}

/// Each function's name and lines. The formatter puts a function's end below its beginning.
fn function_lengths(text: &str) -> Vec<(String, usize)> {
    let lines: Vec<&str> = text.lines().collect();
    let mut found = Vec::new();
    for (start, line) in lines.iter().enumerate() {
        let indent = &line[..line.len() - line.trim_start().len()];
        let Some(name) = function_name(line.trim_start()) else { continue };
        let closing = format!("{indent}}}");
        let ends = |line: &&str| {
            **line == closing
                || (line.starts_with(indent)
                    && line.ends_with(';')
                    && !line[indent.len()..].starts_with(' '))
        };
        let lines = if line.ends_with('}') || line.ends_with(';') {
            1
        } else {
            2 + lines[start + 1..].iter().take_while(|line| !ends(line)).count()
        };
        found.push((name, lines));
    }
    found
}

/// The name, if a function begins on this line.
fn function_name(line: &str) -> Option<String> {
    let mut words = line.split([' ', '(', '<']);
    let is_prefix = |word: &&str| {
        ["pub", "const", "async", "unsafe", "crate)", "super)", "extern"].contains(word)
    };
    let first = words.by_ref().find(|word| !is_prefix(word))?;
    (first == "fn").then(|| words.next().unwrap_or_default().to_owned())
}

/// All files of Rust below a folder of the project.
fn sources(folder: &str) -> Vec<Source> {
    let files = all_files(&root().join(folder));
    let rust = files.into_iter().filter(|path| path.extension().is_some_and(|it| it == "rs"));
    let mut sources: Vec<Source> = rust
        .map(|path| Source {
            text: fs::read_to_string(&path).expect("text"),
            path: path.strip_prefix(root()).expect("below").display().to_string(),
            is_test: false,
        })
        .collect();
    let test_modules: Vec<String> = sources.iter().flat_map(test_modules).collect();
    for source in &mut sources {
        let is_below = |module: &String| {
            source.path == format!("{module}.rs") || source.path.starts_with(&format!("{module}/"))
        };
        source.is_test = test_modules.iter().any(is_below);
    }
    assert!(!sources.is_empty(), "{folder} has no Rust");
    sources
}

/// Where the modules are that this file compiles for tests alone.
fn test_modules(source: &Source) -> Vec<String> {
    let path = source.path.trim_end_matches(".rs");
    let folder = path.strip_suffix("/mod").unwrap_or(path);
    let after = source.text.split("#[cfg(test)]\nmod ").skip(1);
    after
        .filter_map(|after| after.lines().next()?.strip_suffix(';'))
        .map(|name| format!("{folder}/{name}"))
        .collect()
}

fn all_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder of the project") {
        let path = entry.expect("an entry").path();
        let skipped = ["target", "node_modules", "__pycache__"].iter().any(|it| path.ends_with(it));
        match path.is_dir() {
            true if !skipped => files.extend(all_files(&path)),
            false => files.push(path),
            true => {}
        }
    }
    files.sort();
    files
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
