//! The flags, from the command line that the binary parses.

use clap::{Arg, ArgAction};
use instance_deletion_controller::runtime::{args, environment::variable};

use crate::cell;

/// The page.
#[must_use]
pub fn page() -> String {
    let mut command = args::command();
    command.build();
    let about = command.get_long_about().or(command.get_about()).map(ToString::to_string).unwrap_or_default();
    let mut page = format!(
        "# Flags\n\n<!-- Written by `make generate` from the command line. Do not edit. -->\n\n{}\n\n\
         ## Commands\n\n| command | what it does |\n|---|---|\n",
        about.lines().map(cell).collect::<Vec<_>>().join("\n"),
    );
    for command in command.get_subcommands().filter(|command| command.get_name() != "help") {
        let about = command.get_about().map(ToString::to_string).unwrap_or_default();
        page += &format!("| `{}` | {} |\n", command.get_name(), sentence(&about));
    }
    page += "\n## Flags of `run`\n\nDurations are written as Kubernetes writes them: `300ms`, `5s`, `1m30s`, `1.5h`; from `1ms` to `8760h`.\n\n\
             | flag | variable | default | meaning |\n|---|---|---|---|\n";
    let run = command.find_subcommand("run").into_iter().flat_map(clap::Command::get_arguments);
    for flag in run.filter(|flag| !["help", "version"].contains(&flag.get_id().as_str())) {
        page += &row(flag);
    }
    page
}

fn row(flag: &Arg) -> String {
    let takes_value = !matches!(flag.get_action(), ArgAction::SetTrue);
    let value =
        flag.get_value_names().unwrap_or_default().iter().map(ToString::to_string).collect::<Vec<_>>();
    let value = if takes_value { format!(" {}", value.join(" ")) } else { String::new() };
    let defaults: Vec<_> = flag.get_default_values().iter().map(|value| value.to_string_lossy()).collect();
    let default = match defaults.join(",") {
        given if given.is_empty() || !takes_value => String::new(),
        given => format!("`{given}`"),
    };
    let help = flag.get_long_help().or(flag.get_help()).map(ToString::to_string).unwrap_or_default();
    let values: Vec<_> = if takes_value { flag.get_possible_values() } else { Vec::new() };
    let values: Vec<_> = values.iter().map(|value| format!("`{}`", value.get_name())).collect();
    let values = if values.is_empty() { String::new() } else { format!(" One of {}.", values.join(", ")) };
    let name = flag.get_long().unwrap_or_default();
    let variable = variable(name);
    format!("| `--{name}{value}` | `{variable}` | {default} | {}{values} |\n", sentence(&help))
}

/// clap takes the period away from the end of a help text.
fn sentence(text: &str) -> String {
    let text = cell(text);
    if text.ends_with('.') { text } else { text + "." }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flag_has_its_variable_its_default_and_its_meaning() {
        let page = page();
        for row in [
            "| `--poll-min D` | `INSTANCE_DELETION_POLL_MIN` | `5s` | ",
            "| `--allow-insecure-endpoint` | `INSTANCE_DELETION_ALLOW_INSECURE_ENDPOINT` |  | ",
        ] {
            assert!(page.contains(row), "{row}\n{page}");
        }
        assert!(page.contains("| `crd` | "), "commands too");
    }
}
