//! `completion`: a script for a shell; and the answers to kubectl's own completion.

use clap::{Arg, Command};
use instance_deletion_controller::api::InstanceDeletion;
use kube::{Api, ResourceExt, api::ListParams};

use crate::{
    args::ClusterArgs,
    cluster::Cluster,
    failure::Failure,
    output::{lines, print},
};

/// Directives of kubectl's completion (cobra): the shell adds no file names; it adds them.
const NO_FILES: u8 = 4;
const FILES: u8 = 0;
/// Names that are offered.
const MOST: u32 = 500;

/// Prints the script for the command line `root`.
pub fn script(shell: clap_complete::Shell, root: &mut Command) {
    clap_complete::generate(shell, root, "kubectl-idel", &mut std::io::stdout());
}

/// Answers what may follow. kubectl calls `kubectl_complete-idel` with the words behind `kubectl idel`.
pub async fn answer(mut root: Command, cluster: &ClusterArgs, words: &[String]) -> Result<(), Failure> {
    let (written, before) = words.split_last().map_or(("", &[][..]), |(last, rest)| (last.as_str(), rest));
    root.build();
    let candidates = match candidates(&root, before, written) {
        Candidates::These(these) => these,
        Candidates::Files => return print(&format!(":{FILES}\n")),
        Candidates::Names => names(&arguments(cluster, before)).await,
    };
    let fitting = candidates.iter().filter(|candidate| candidate.starts_with(written));
    print(&format!("{}:{NO_FILES}\n", lines(fitting)))
}

#[derive(Debug, PartialEq, Eq)]
enum Candidates {
    These(Vec<String>),
    /// Names of objects.
    Names,
    Files,
}

fn candidates(root: &Command, before: &[String], written: &str) -> Candidates {
    let sub = before.iter().find_map(|word| root.find_subcommand(word));
    let Some(sub) = sub else {
        let visible = root.get_subcommands().filter(|sub| !sub.is_hide_set());
        return Candidates::These(visible.map(|sub| sub.get_name().to_owned()).collect());
    };
    if let Some(option) = before.last().and_then(|last| option(sub, last)).filter(|arg| takes_value(arg)) {
        let values: Vec<String> =
            option.get_possible_values().iter().map(|value| value.get_name().to_owned()).collect();
        return if values.is_empty() { Candidates::Files } else { Candidates::These(values) };
    }
    if written.starts_with('-') {
        let visible = sub.get_arguments().filter(|arg| !arg.is_hide_set());
        return Candidates::These(visible.filter_map(|arg| Some(format!("--{}", arg.get_long()?))).collect());
    }
    match sub.get_positionals().next() {
        None => Candidates::These(Vec::new()),
        Some(arg) if !arg.get_possible_values().is_empty() => {
            Candidates::These(arg.get_possible_values().iter().map(|v| v.get_name().to_owned()).collect())
        }
        Some(_) => Candidates::Names,
    }
}

fn option<'a>(sub: &'a Command, word: &str) -> Option<&'a Arg> {
    sub.get_arguments().find(|arg| {
        let long = arg.get_long().is_some_and(|long| word.strip_prefix("--") == Some(long));
        let short = arg.get_short().is_some_and(|short| word.strip_prefix('-') == Some(&short.to_string()));
        long || short
    })
}

fn takes_value(arg: &Arg) -> bool {
    arg.get_action().takes_values()
}

/// The options of the cluster among the words that were written.
fn arguments(cluster: &ClusterArgs, before: &[String]) -> ClusterArgs {
    let mut cluster = cluster.clone();
    for pair in before.windows(2) {
        if let [option, value] = pair {
            match option.as_str() {
                "-n" | "--namespace" => cluster.namespace = Some(value.clone()),
                "--context" => cluster.context = Some(value.clone()),
                "--kubeconfig" => cluster.kubeconfig = Some(value.into()),
                _ => {}
            }
        }
    }
    cluster
}

/// Names of the objects of the namespace; none if they can't be read, since a completion says nothing.
async fn names(args: &ClusterArgs) -> Vec<String> {
    let Ok(cluster) = Cluster::connect(args).await else { return Vec::new() };
    let api: Api<InstanceDeletion> = cluster.in_namespace(&cluster.namespace);
    let list = api.list_metadata(&ListParams::default().limit(MOST)).await;
    list.map(|list| list.items.iter().map(ResourceExt::name_any).collect()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(words: &[&str]) -> Candidates {
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        let (written, before) = words.split_last().unwrap();
        let mut root = crate::cli::command();
        root.build();
        candidates(&root, before, written)
    }

    #[test]
    fn what_may_follow_is_what_the_command_line_takes() {
        let Candidates::These(commands) = of(&[""]) else { panic!("commands") };
        assert!(commands.contains(&"generate".to_owned()) && !commands.contains(&"__complete".to_owned()));
        assert_eq!(of(&["report", ""]), Candidates::Names);
        assert_eq!(of(&["-n", "fleet", "report", ""]), Candidates::Names);
        let forms = ["table", "json", "csv", "markdown"].map(str::to_owned).to_vec();
        assert_eq!(of(&["report", "-o", ""]), Candidates::These(forms));
        assert_eq!(of(&["generate", "--id-file", ""]), Candidates::Files);
        let Candidates::These(flags) = of(&["generate", "--r"]) else { panic!("flags") };
        assert!(flags.contains(&"--rack".to_owned()) && flags.contains(&"--namespace".to_owned()));
        let Candidates::These(shells) = of(&["completion", ""]) else { panic!("shells") };
        assert!(shells.contains(&"bash".to_owned()));
    }
}
