//! The log of a run: hashed always, kept if wanted.

use std::{fmt, fmt::Write as _, time::Duration};

/// Lines, one for each message and each act.
#[derive(Debug)]
pub struct Trace {
    keep: bool,
    lines: Vec<String>,
    line: String,
    hash: u64,
}

impl Trace {
    /// An empty one. `keep`: for people to read.
    #[must_use]
    pub fn new(keep: bool) -> Self {
        Self { keep, lines: Vec::new(), line: String::new(), hash: 0xcbf2_9ce4_8422_2325 }
    }

    /// Adds a line.
    pub fn add(&mut self, at: Duration, what: fmt::Arguments<'_>) {
        self.line.clear();
        // Writing into a String does not fail.
        let _ = write!(self.line, "{:>10.3} {what}", at.as_secs_f64());
        for byte in self.line.bytes().chain([b'\n']) {
            self.hash = (self.hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        if self.keep {
            self.lines.push(self.line.clone());
        }
    }

    /// FNV-1a of all lines.
    #[must_use]
    pub fn hash(&self) -> u64 {
        self.hash
    }

    /// The lines, if they were kept.
    #[must_use]
    pub fn lines(&self) -> &[String] {
        &self.lines
    }
}
