//! Tables as kubectl prints them.

use console::measure_text_width;

/// Spaces between two columns.
const GAP: usize = 3;

/// A table without borders: each column as wide as its widest cell, three spaces between them.
#[must_use]
pub fn table(header: &[&str], rows: &[Vec<String>]) -> String {
    let header: Vec<String> = header.iter().map(|cell| (*cell).to_owned()).collect();
    let lines = || std::iter::once(&header).chain(rows);
    let widths: Vec<usize> = (0..header.len())
        .map(|column| lines().filter_map(|line| line.get(column)).map(|cell| measure_text_width(cell)).max())
        .map(Option::unwrap_or_default)
        .collect();
    let mut text = String::new();
    for line in lines() {
        let mut written = String::new();
        for (cell, width) in line.iter().zip(&widths) {
            written += cell;
            written += &" ".repeat(width + GAP - measure_text_width(cell));
        }
        text += written.trim_end();
        text.push('\n');
    }
    text
}

/// A table of Markdown.
#[must_use]
pub fn markdown(header: &[&str], rows: &[Vec<String>]) -> String {
    let cell = |text: &String| text.replace('|', "\\|");
    let mut text = format!("| {} |\n|{}\n", header.join(" | "), "---|".repeat(header.len()));
    for row in rows {
        text += &format!("| {} |\n", row.iter().map(cell).collect::<Vec<_>>().join(" | "));
    }
    text
}

/// Text from outside for a terminal or a comment: control characters could move the cursor or end the line.
#[must_use]
pub fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [["a".to_owned(), "1".to_owned()].to_vec(), ["名前".to_owned(), String::new()].to_vec()];
        assert_eq!(table(&["N", "V"], &rows), "N      V\na      1\n名前\n");
        assert_eq!(markdown(&["N", "V"], &rows[..1]), "| N | V |\n|---|---|\n| a | 1 |\n");
        assert_eq!(printable("a\x1b[2J\nb"), "a?[2J?b");
    }
}
