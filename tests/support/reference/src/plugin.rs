//! The commands of `kubectl idel`, from the command line that it parses.

use clap::{Arg, Command};

use crate::cell;

/// The page.
#[must_use]
pub fn page() -> String {
    let mut root = kubectl_idel::command();
    root.build();
    let mut page = format!(
        "# kubectl idel\n\n<!-- Written by `make generate` from the command line. Do not edit. -->\n\n{}\n\n\
         ## Commands\n\n| command | what it does |\n|---|---|\n",
        text(root.get_long_about().or(root.get_about())),
    );
    let commands =
        || root.get_subcommands().filter(|command| !command.is_hide_set() && command.get_name() != "help");
    for command in commands() {
        let name = command.get_name();
        page += &format!("| [`{name}`](#{name}) | {} |\n", sentence(&text(command.get_about())));
    }
    page += "\n## Flags of all commands\n\n| flag | meaning |\n|---|---|\n";
    page.extend(root.get_arguments().filter(|arg| is_own(arg)).map(row));
    page += "\n## Exit codes\n\n```console\n";
    page += root
        .get_after_help()
        .map(ToString::to_string)
        .unwrap_or_default()
        .split("\n\n")
        .next()
        .unwrap_or_default();
    page += "\n```\n";
    for command in commands() {
        page += &section(command);
    }
    page
}

fn section(command: &Command) -> String {
    let usage = command.clone().render_usage().to_string();
    let usage = usage.strip_prefix("Usage: ").unwrap_or(&usage);
    let mut section = format!(
        "\n## {}\n\n{}\n\n```console\n$ {}\n```\n",
        command.get_name(),
        sentence(&text(command.get_about())),
        usage.split_whitespace().collect::<Vec<_>>().join(" ")
    );
    if let Some(more) = command.get_after_help() {
        section += &format!("\n{}\n", sentence(&text(Some(more))));
    }
    let rows: String =
        command.get_arguments().filter(|arg| is_own(arg) && !arg.is_global_set()).map(row).collect();
    if !rows.is_empty() {
        section += &format!("\n| argument | meaning |\n|---|---|\n{rows}");
    }
    section
}

fn is_own(arg: &Arg) -> bool {
    !arg.is_hide_set() && !["help", "version"].contains(&arg.get_id().as_str())
}

fn row(arg: &Arg) -> String {
    let names = arg.get_value_names().unwrap_or_default();
    let value = names.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
    let takes = arg.get_action().takes_values();
    let name = match (arg.get_short(), arg.get_long()) {
        (Some(short), Some(long)) => format!("-{short}, --{long}"),
        (None, Some(long)) => format!("--{long}"),
        _ => String::new(),
    };
    let name = [name, if takes { value } else { String::new() }].join(" ").trim().to_owned();
    let mut meaning = sentence(&text(arg.get_long_help().or(arg.get_help())));
    let values: Vec<_> =
        arg.get_possible_values().iter().map(|value| format!("`{}`", value.get_name())).collect();
    if takes && !values.is_empty() {
        meaning += &format!(" One of {}.", values.join(", "));
    }
    let default: Vec<_> = arg.get_default_values().iter().map(|value| value.to_string_lossy()).collect();
    if takes && !default.is_empty() {
        meaning += &format!(" Default: `{}`.", default.join(","));
    }
    if let Some(variable) = arg.get_env() {
        meaning += &format!(" Variable: `{}`.", variable.to_string_lossy());
    }
    format!("| `{name}` | {meaning} |\n")
}

fn text(styled: Option<&clap::builder::StyledStr>) -> String {
    let text = styled.map(ToString::to_string).unwrap_or_default();
    text.lines().map(cell).collect::<Vec<_>>().join("\n")
}

/// clap takes the period away from the end of a help text.
fn sentence(text: &str) -> String {
    if text.is_empty() || text.ends_with('.') { text.to_owned() } else { format!("{text}.") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_command_has_its_section_with_its_arguments() {
        let page = page();
        for line in [
            "| [`generate`](#generate) | ",
            "\n## watch\n",
            "| `-n, --namespace NAME` | ",
            "| `--max-ids N` | Most ids of one object. Default: `500`. |",
            "  3  the time limit passed first",
        ] {
            assert!(page.contains(line), "{line}\n{page}");
        }
        assert!(!page.contains("__complete"), "{page}");
    }
}
