//! Arguments that several commands have, and what their values mean.

use std::{path::PathBuf, time::Duration};

use clap::{Args, ValueEnum};

/// Which cluster, as kubectl has it.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Cluster")]
pub struct ClusterArgs {
    /// File that says where the cluster is; else KUBECONFIG, or ~/.kube/config.
    #[arg(long, global = true, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,

    /// Context of the kubeconfig; else its current one.
    #[arg(long, global = true, value_name = "NAME")]
    pub context: Option<String>,

    /// Namespace; else that of the context.
    #[arg(short = 'n', long, global = true, value_name = "NAME")]
    pub namespace: Option<String>,
}

/// Form of an output.
#[derive(ValueEnum, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TextOrJson {
    /// For people.
    #[default]
    Text,
    /// For programs.
    Json,
}

/// Parses a duration such as 90s, 30m, 2h or 3d.
pub fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is no duration such as 90s, 30m, 2h or 3d");
    let digits = text.trim_end_matches(|c: char| c.is_ascii_lowercase());
    let number: u64 = digits.parse().map_err(|_| wrong())?;
    let seconds = match text.strip_prefix(digits) {
        Some("s") => number,
        Some("m") => number.saturating_mul(60),
        Some("h") => number.saturating_mul(3_600),
        Some("d") => number.saturating_mul(86_400),
        _ => return Err(wrong()),
    };
    Ok(Duration::from_secs(seconds))
}

/// A label or tag `key=value`.
pub fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err(format!("{text:?} is not KEY=VALUE")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        assert_eq!(duration("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("2h"), Ok(Duration::from_hours(2)));
        assert_eq!(duration("3d"), Ok(Duration::from_hours(72)));
        for bad in ["", "5", "s", "1w", "-1s", "1.5h"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }
}
