//! The environment variables of the flags: `--poll-min` is `INSTANCE_DELETION_POLL_MIN`.
//!
//! The prefix keeps common names such as `NAMESPACE`, which Pods often have for other reasons, from changing what is deleted.

use std::ffi::{OsStr, OsString};

use clap::{Arg, Command};

/// Prefix of the variables.
pub const PREFIX: &str = "INSTANCE_DELETION_";

/// A variable with the prefix that no flag has. It is refused: a misspelt `INSTANCE_DELETION_NAMESPACE` would otherwise mean all
/// namespaces.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the environment variable {0} belongs to no flag; correct its name or unset it (`run --help` lists the variables)"
)]
pub struct UnknownVariable(String);

/// Name of a flag's variable.
#[must_use]
pub fn variable(flag: &str) -> String {
    format!("{PREFIX}{}", flag.replace('-', "_").to_uppercase())
}

/// Gives each flag of `command`, and of its subcommands where they have the same flag, its variable. An empty variable counts
/// as absent.
#[must_use]
pub fn with_variables(command: Command) -> Command {
    let flags: Vec<_> = command.get_arguments().map(|arg| arg.get_id().clone()).collect();
    let named = |arg: Arg| {
        let Some(name) = arg.get_long().filter(|_| flags.contains(arg.get_id())).map(variable) else {
            return arg;
        };
        let empty = std::env::var_os(&name).is_some_and(|value| value.is_empty());
        if empty { arg } else { arg.env(name).hide_env_values(true) }
    };
    command.mut_args(named).mut_subcommands(|subcommand| subcommand.mut_args(named))
}

/// Refuses variables with the prefix that belong to none of these flags. Empty variables and those that the kubelet makes of
/// Services pass.
pub fn check<'a>(
    flags: impl IntoIterator<Item = &'a str>,
    environment: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<(), UnknownVariable> {
    let known: Vec<String> = flags.into_iter().map(variable).collect();
    for (name, value) in environment {
        let Some(name) = name.to_str().filter(|_| !value.is_empty()) else { continue };
        let Some(rest) = name.strip_prefix(PREFIX) else { continue };
        if !known.iter().any(|known| known == name) && !is_service_link(rest, &value) {
            return Err(UnknownVariable(name.to_owned()));
        }
    }
    Ok(())
}

/// Whether the kubelet makes such a variable for a Service whose name begins like the prefix, such as
/// `instance-deletion-controller` (Kubernetes: "Accessing the Service", environment variables).
fn is_service_link(rest: &str, value: &OsStr) -> bool {
    // A Service named as the prefix itself leaves nothing before the ending.
    let rest = format!("_{rest}");
    let is_url = value.to_str().is_some_and(|value| value.contains("://"));
    rest.ends_with("_SERVICE_HOST")
        || rest.contains("_SERVICE_PORT")
        || (rest.ends_with("_PORT") && is_url)
        || rest.rsplit_once("_PORT_").is_some_and(|(_, port)| is_port_part(port))
}

/// `8080_TCP`, `8080_TCP_ADDR`, `8080_TCP_PORT` or `8080_TCP_PROTO`.
fn is_port_part(part: &str) -> bool {
    let mut words = part.split('_');
    let number = words.next().is_some_and(|word| word.parse::<u16>().is_ok());
    let protocol = words.next().is_some_and(|word| ["TCP", "UDP", "SCTP"].contains(&word));
    let field = words.next().is_none_or(|word| ["ADDR", "PORT", "PROTO"].contains(&word));
    number && protocol && field && words.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(name: &str, value: &str) -> Result<(), String> {
        let environment = [(OsString::from(name), OsString::from(value))];
        check(["poll-min", "namespace", "listen"], environment).map_err(|error| error.to_string())
    }

    #[test]
    fn a_variable_is_the_flags_name_with_the_prefix() {
        assert_eq!(variable("poll-min"), "INSTANCE_DELETION_POLL_MIN");
    }

    #[test]
    fn a_misspelt_variable_is_refused_and_an_empty_one_is_absent() {
        for (name, value) in [
            ("INSTANCE_DELETION_POLL_MIN", "5s"),
            ("INSTANCE_DELETION_NAMESPACES", ""),
            ("NAMESPACE", "fleet"),
            ("POLL_MIN", "5s"),
            ("OTHER_INSTANCE_DELETION_X", "1"),
        ] {
            assert_eq!(checked(name, value), Ok(()), "{name}");
        }
        for name in [
            "INSTANCE_DELETION_NAMESPACES",
            "INSTANCE_DELETION_poll_min",
            "INSTANCE_DELETION_",
            "INSTANCE_DELETION_HEALTH_PORT",
        ] {
            let message = checked(name, "8081").unwrap_err();
            assert!(message.contains(&format!("variable {name} belongs to no flag")), "{message}");
        }
    }

    #[test]
    fn variables_that_the_kubelet_makes_of_services_pass() {
        // Of Services named `instance-deletion-controller`, `instance-deletion` and `instance-deletion-poll`.
        for service in ["CONTROLLER_", "", "POLL_"] {
            for (ending, value) in [
                ("SERVICE_HOST", "10.0.0.1"),
                ("SERVICE_PORT", "8080"),
                ("SERVICE_PORT_HTTP_METRICS", "8080"),
                ("PORT", "tcp://10.0.0.1:8080"),
                ("PORT_8080_TCP", "tcp://10.0.0.1:8080"),
                ("PORT_8080_TCP_PROTO", "tcp"),
                ("PORT_8080_TCP_PORT", "8080"),
                ("PORT_8080_TCP_ADDR", "fd00::1"),
                ("PORT_53_UDP_ADDR", "10.0.0.1"),
            ] {
                let name = format!("{PREFIX}{service}{ending}");
                assert_eq!(checked(&name, value), Ok(()), "{name}");
            }
        }
        for name in ["PORT_80_TCP_X", "PORT_80", "PORT_X_TCP", "PORT_80_TCP_ADDR_X", "SERVICE"] {
            assert!(checked(&format!("{PREFIX}A_{name}"), "1").is_err(), "{name}");
        }
    }
}
