//! What one source file declares and which paths it writes.

use std::collections::HashMap;

use crate::tokens::{Token, tokens};

/// What a source file holds outside `#[cfg(test)]`.
#[derive(Debug, Default)]
pub(crate) struct Scan {
    /// Modules that are declared, with whether their body is in this file.
    pub modules: Vec<Declaration>,
    /// Names that `use` brings into scope.
    pub uses: Vec<Use>,
    /// Paths of two and more segments outside `use`.
    pub paths: Vec<Mention>,
    /// How often each word stands in the file outside `use`.
    pub words: HashMap<String, usize>,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Declaration {
    /// Modules of this file around it, from the outside in.
    pub within: Vec<String>,
    pub name: String,
    pub inline: bool,
}

/// One name of a `use` tree.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Use {
    /// Modules of this file around it, from the outside in.
    pub within: Vec<String>,
    pub path: Vec<String>,
    /// The name in scope; none for `*` and `_`.
    pub name: Option<String>,
    /// Whether it is visible outside its module: a re-export.
    pub public: bool,
    pub line: usize,
}

/// A path in code.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Mention {
    /// Modules of this file around it, from the outside in.
    pub within: Vec<String>,
    pub path: Vec<String>,
    pub line: usize,
}

/// Reads a source file.
pub(crate) fn scan(source: &str) -> Scan {
    let mut scanner =
        Scanner { tokens: tokens(source), at: 0, depth: 0, inline: Vec::new(), found: Scan::default() };
    while scanner.at < scanner.tokens.len() {
        scanner.step();
    }
    scanner.found
}

struct Scanner {
    tokens: Vec<(Token, usize)>,
    at: usize,
    /// Open braces.
    depth: usize,
    /// Modules whose body is open, each with the depth outside it.
    inline: Vec<(String, usize)>,
    found: Scan,
}

impl Scanner {
    fn token(&self, at: usize) -> Option<&Token> {
        self.tokens.get(at).map(|(token, _)| token)
    }

    fn word(&self, at: usize) -> Option<&str> {
        match self.token(at) {
            Some(Token::Word(word)) => Some(word),
            _ => None,
        }
    }

    fn is(&self, at: usize, character: char) -> bool {
        self.token(at) == Some(&Token::Other(character))
    }

    fn line(&self) -> usize {
        self.tokens.get(self.at).map_or(0, |(_, line)| *line)
    }

    fn within(&self) -> Vec<String> {
        self.inline.iter().map(|(name, _)| name.clone()).collect()
    }

    fn step(&mut self) {
        match self.token(self.at) {
            Some(Token::Other('{')) => self.depth += 1,
            Some(Token::Other('}')) => {
                self.depth = self.depth.saturating_sub(1);
                self.inline.pop_if(|(_, depth)| *depth == self.depth);
            }
            Some(Token::Other('#')) if self.is_test_attribute() => return self.skip_item(),
            Some(Token::Word(word)) if word == "mod" => return self.module(),
            // Not the `use<'a>` of a type.
            Some(Token::Word(word)) if word == "use" && !self.is(self.at + 1, '<') => return self.import(),
            Some(Token::Word(_)) => return self.path(),
            _ => {}
        }
        self.at += 1;
    }

    fn is_test_attribute(&self) -> bool {
        let words = ["cfg", "test"];
        self.is(self.at + 1, '[')
            && self.word(self.at + 2) == Some(words[0])
            && self.is(self.at + 3, '(')
            && self.word(self.at + 4) == Some(words[1])
            && self.is(self.at + 5, ')')
    }

    /// Skips the attribute and its item: up to a `;` outside brackets, or to the end of a body.
    fn skip_item(&mut self) {
        let mut open = 0_usize;
        // `#[cfg(test)]` has seven tokens.
        self.at += 7;
        while let Some(token) = self.token(self.at) {
            match token {
                Token::Other('(' | '[' | '{') => open += 1,
                Token::Other(close @ (')' | ']' | '}')) => {
                    // The end of what surrounds a field or an arm.
                    if open == 0 {
                        return;
                    }
                    open -= 1;
                    if open == 0 && *close == '}' {
                        self.at += 1;
                        return;
                    }
                }
                Token::Other(';') if open == 0 => {
                    self.at += 1;
                    return;
                }
                _ => {}
            }
            self.at += 1;
        }
    }

    fn module(&mut self) {
        self.at += 1;
        let Some(name) = self.word(self.at).map(str::to_owned) else { return };
        self.at += 1;
        let inline = self.is(self.at, '{');
        if !inline && !self.is(self.at, ';') {
            return;
        }
        self.found.modules.push(Declaration { within: self.within(), name: name.clone(), inline });
        if inline {
            self.inline.push((name, self.depth));
        }
    }

    /// `use` and its tree.
    fn import(&mut self) {
        let public = self.at > 0 && (self.word(self.at - 1) == Some("pub") || self.is(self.at - 1, ')'));
        self.at += 1;
        // `use ::name` is another crate's.
        if self.token(self.at) == Some(&Token::PathSeparator) {
            while self.at < self.tokens.len() && !self.is(self.at, ';') {
                self.at += 1;
            }
            return;
        }
        self.tree(&[], public);
    }

    /// One tree of a `use`, after the prefix.
    fn tree(&mut self, prefix: &[String], public: bool) {
        let line = self.line();
        let mut path = prefix.to_vec();
        loop {
            if self.is(self.at, '{') {
                self.at += 1;
                while self.at < self.tokens.len() && !self.is(self.at, '}') {
                    self.tree(&path, public);
                    if self.is(self.at, ',') {
                        self.at += 1;
                    }
                }
                self.at += 1;
                return;
            }
            if self.is(self.at, '*') {
                self.at += 1;
                return self.found.uses.push(Use { within: self.within(), path, name: None, public, line });
            }
            let Some(word) = self.word(self.at).map(str::to_owned) else {
                // Not what a `use` looks like: do not stand still.
                self.at += 1;
                return;
            };
            self.at += 1;
            // `a::{self}` is `a`.
            if word != "self" || path.is_empty() {
                path.push(word);
            }
            if self.token(self.at) == Some(&Token::PathSeparator) {
                self.at += 1;
                continue;
            }
            let mut name = path.last().cloned();
            if self.word(self.at) == Some("as") {
                name = self.word(self.at + 1).filter(|name| *name != "_").map(str::to_owned);
                self.at += 2;
            }
            return self.found.uses.push(Use { within: self.within(), path, name, public, line });
        }
    }

    /// A word, and what follows it after `::`.
    fn path(&mut self) {
        let line = self.line();
        // The rest of `::name`, of `<T as Trait>::name` or of `value.name`.
        let continues = self.at > 0
            && (self.token(self.at - 1) == Some(&Token::PathSeparator) || self.is(self.at - 1, '.'));
        let mut path = Vec::new();
        while let Some(word) = self.word(self.at).map(str::to_owned) {
            *self.found.words.entry(word.clone()).or_default() += 1;
            path.push(word);
            self.at += 1;
            if self.token(self.at) != Some(&Token::PathSeparator) || self.word(self.at + 1).is_none() {
                break;
            }
            self.at += 1;
        }
        if path.len() > 1 && !continues {
            self.found.paths.push(Mention { within: self.within(), path, line });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::scan;

    /// The paths of a source: `use` with the name in scope, then the others, each after its inline modules.
    fn found(source: &str) -> Vec<String> {
        let scan = scan(source);
        let place = |within: &[String]| [within, &[String::new()]].concat().join("/");
        let uses = scan.uses.iter().map(|u| {
            let public = if u.public { "pub " } else { "" };
            let name = u.name.clone().unwrap_or_else(|| "*".to_owned());
            format!("{}{public}use {} = {name}", place(&u.within), u.path.join("::"))
        });
        let paths = scan.paths.iter().map(|m| place(&m.within) + &m.path.join("::"));
        uses.chain(paths).collect()
    }

    #[test]
    fn a_use_tree_is_each_of_its_names() {
        let cases: [(&str, &[&str]); 9] = [
            ("use crate::a::B;", &["use crate::a::B = B"]),
            ("pub(crate) use self::a::B as C;", &["pub use self::a::B = C"]),
            ("pub use a::*;", &["pub use a = *"]),
            (
                "use super::{a::{self, B, c::D}, E as _, F,};",
                &[
                    "use super::a = a",
                    "use super::a::B = B",
                    "use super::a::c::D = D",
                    "use super::E = *",
                    "use super::F = F",
                ],
            ),
            ("use {crate::a, std::io};", &["use crate::a = a", "use std::io = io"]),
            ("use ::a::B; use crate::c;", &["use crate::c = c"]),
            (
                "mod m { use super::a; mod n { use super::b; } use c::d; }",
                &["m/use super::a = a", "m/n/use super::b = b", "m/use c::d = d"],
            ),
            ("fn f() { use crate::a; }", &["use crate::a = a"]),
            ("fn f<'a>() -> impl Sized + use<'a> {} use crate::b;", &["use crate::b = b"]),
        ];
        for (source, expected) in cases {
            assert_eq!(found(source), expected, "{source}");
        }
    }

    #[test]
    fn paths_in_code_are_found_in_macros_too() {
        let cases: [(&str, &[&str]); 7] = [
            ("fn f() { crate::a::b(1) }", &["crate::a::b"]),
            ("info!(x = super::a::B.c, \"crate::d\");", &["super::a::B"]),
            ("a::B::<c::D>::e()", &["a::B", "c::D"]),
            ("::a::b; <T as c::D>::E; x.f::<G>()", &["c::D"]),
            ("pub(in crate::a) fn f() {}", &["crate::a"]),
            ("/// [`crate::a::B`]\nfn f() {}", &[]),
            ("impl a::B for crate::c::D {}", &["a::B", "crate::c::D"]),
        ];
        for (source, expected) in cases {
            assert_eq!(found(source), expected, "{source}");
        }
    }

    #[test]
    fn what_is_compiled_for_tests_alone_is_left_out() {
        let cases: [(&str, &[&str]); 6] = [
            ("#[cfg(test)] mod tests { use super::a::B; } use crate::c;", &["use crate::c = c"]),
            ("#[cfg(test)]\n#[allow(x)]\nmod tests; use crate::c;", &["use crate::c = c"]),
            ("#[cfg(test)] use crate::a::{b, c}; use crate::d;", &["use crate::d = d"]),
            ("#[cfg(test)] fn f(a: [u8; 3]) { a::b(); } c::d()", &["c::d"]),
            ("struct S { #[cfg(test)] a: a::B } type T = c::D;", &["c::D"]),
            ("#[cfg(not(test))] fn f() { a::b() }", &["a::b"]),
        ];
        for (source, expected) in cases {
            assert_eq!(found(source), expected, "{source}");
        }
        assert!(scan("#[cfg(test)] mod tests;").modules.is_empty());
    }

    #[test]
    fn a_module_is_in_this_file_or_in_one_of_its_own() {
        let scan = scan("pub mod a; mod b { mod c; } mod d;");
        let modules: Vec<_> =
            scan.modules.iter().map(|m| (m.within.join("::"), m.name.as_str(), m.inline)).collect();
        let own = |name: &'static str, within: &str, inline| (within.to_owned(), name, inline);
        assert_eq!(
            modules,
            [own("a", "", false), own("b", "", true), own("c", "b", false), own("d", "", false)]
        );
    }
}
