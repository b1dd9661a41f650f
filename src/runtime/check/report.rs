//! The report that `check` prints: sections with lines for people, and the problems again at the end.

use std::io::{self, Write};

use crate::text::bounded;

/// Why the API server did not do what was asked.
pub fn why(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => bounded(&format!("{} ({})", status.message, status.code)),
        error => bounded(&error.to_string()),
    }
}

/// The text as it grows.
pub struct Report {
    to: Box<dyn Write + Send>,
    problems: Vec<String>,
}

impl Report {
    /// A report that is printed as it grows: a cluster may take long to answer.
    pub fn to_stdout() -> Self {
        Self::to(io::stdout())
    }

    fn to(to: impl Write + Send + 'static) -> Self {
        Self { to: Box::new(to), problems: Vec::new() }
    }

    /// Begins a section.
    pub fn section(&mut self, title: &str) {
        self.print(&format!("{title}\n"));
    }

    /// Tells one thing.
    pub fn line(&mut self, text: &str) {
        self.print(&format!("  {text}\n"));
    }

    /// Tells what would keep `run` from its work.
    pub fn problem(&mut self, text: &str) {
        self.print(&format!("  PROBLEM: {text}\n"));
        self.problems.push(text.to_owned());
    }

    /// Tells the result. Returns whether there was no problem.
    pub fn end(mut self) -> bool {
        let problems = std::mem::take(&mut self.problems);
        match problems.len() {
            0 => self.print("No problem found.\n"),
            1 => self.print("1 problem found:\n"),
            n => self.print(&format!("{n} problems found:\n")),
        }
        for problem in &problems {
            self.print(&format!("  - {problem}\n"));
        }
        problems.is_empty()
    }

    /// Prints a text. An error is ignored: a reader that closes the pipe still gets the exit code.
    fn print(&mut self, text: &str) {
        let _ = self.to.write_all(text.as_bytes()).and_then(|()| self.to.flush());
    }
}
