//! The chart's values: what they become, what is refused, and what stands for a value that is absent.

use std::{fs, path::Path, process::Command};

use serde_json::{Value, json};

use super::{
    chart::{NAME, shared, template},
    objects::{Objects, assert_same, chart, of_kind, rendered},
};
use crate::support::binary;

/// The values of the chart before this one.
pub(super) const BEFORE: &str = include_str!("values-before.yaml");

/// The flags that `run --help` lists.
fn flags() -> Vec<String> {
    let help = Command::new(binary()).args(["run", "--help"]).output().unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    let lines = help.lines().filter(|line| line.trim_start().starts_with(['-']));
    let mut flags: Vec<String> = lines
        .filter_map(|line| line.split_once("--")?.1.split([' ', '=']).next().map(str::to_owned))
        .filter(|flag| flag != "help")
        .collect();
    flags.sort();
    assert!(flags.len() > 15, "{flags:?}");
    flags
}

fn camel(flag: &str) -> String {
    let mut words = flag.split('-');
    let first = words.next().unwrap_or_default().to_owned();
    words.fold(first, |name, word| name + &word[..1].to_uppercase() + &word[1..])
}

fn schema() -> Value {
    let text = fs::read_to_string(Path::new(&chart()).join("values.schema.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

/// The schema of the values has an example of each flag, and the program accepts the flags that the chart makes of them.
#[test]
fn every_flag_is_a_value_and_becomes_an_argument_that_the_program_takes() {
    let properties = schema()["properties"]["flags"]["properties"].clone();
    let folder = tempfile::tempdir().unwrap();
    let roots = folder.path().join("roots.pem");
    fs::write(&roots, crate::tls::authority("roots").pem).unwrap();
    let mut values = serde_json::Map::new();
    for flag in flags() {
        let example = &properties[camel(&flag)]["examples"][0];
        assert!(!example.is_null(), "values.schema.json has no example of {flag}");
        let value = if flag == "ca-file" { json!(roots.display().to_string()) } else { example.clone() };
        values.insert(camel(&flag), value);
    }
    assert_eq!(properties.as_object().unwrap().len(), values.len(), "a value that is no flag");
    let objects = rendered(shared(), &["--set-json", &format!("flags={}", Value::Object(values))]).unwrap();
    let container = &of_kind(&objects, "Deployment")[0]["spec"]["template"]["spec"]["containers"][0];
    let args: Vec<String> = serde_json::from_value(container["args"].clone()).unwrap();
    for flag in flags() {
        let given = |arg: &&String| arg.split('=').next() == Some(&format!("--{flag}"));
        assert!(args.iter().any(|arg| given(&arg)), "--{flag}: {args:?}");
    }
    assert_eq!(args.iter().filter(|arg| arg.starts_with("--namespace=")).count(), 2);
    assert_eq!(container["ports"][0]["containerPort"], 9090, "of flags.listen");
    assert_eq!(container["ports"][1]["containerPort"], 9091, "of flags.healthListen");
    let policy = &of_kind(&objects, "NetworkPolicy")[0]["spec"]["ingress"];
    assert_eq!(policy[0]["ports"], json!([{"protocol": "TCP", "port": 9090}]), "metrics alone: {policy}");
    // The program looks for a cluster and finds none. With an unknown flag it would have ended before that.
    let mut program = Command::new(binary());
    program.args(&args).env_clear().env("KUBECONFIG", "/nowhere/kubeconfig");
    let output = program.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.code() == Some(1) && said.contains("/nowhere/kubeconfig"), "{args:?}: {said}");
}

#[test]
fn values_of_a_wrong_type_or_name_are_refused_with_their_place() {
    let table = [
        ("replicas=\"two\"", "/replicas"),
        ("replicas=-1", "/replicas"),
        ("flags.pollMin=5", "/flags/pollMin"),
        ("flags.pollMin=\"5\"", "/flags/pollMin"),
        ("flags.settle=\"0s\"", "/flags/settle"),
        ("flags.deleteRate=0", "/flags/deleteRate"),
        ("flags.deleteRate=\"fast\"", "/flags/deleteRate"),
        ("flags.parallelCalls=65", "/flags/parallelCalls"),
        ("flags.namespace=\"fleet\"", "/flags/namespace"),
        ("flags.namespace=[\"\"]", "/flags/namespace"),
        ("flags.endpoint=[\"r=https://x\"]", "/flags/endpoint"),
        ("flags.endpoint={\"r\":\"x\"}", "/flags/endpoint"),
        ("flags.logFormat=\"xml\"", "/flags/logFormat"),
        ("flags.pollmin=\"5s\"", "'pollmin'"),
        ("flags.allowInsecureEndpoint=\"yes\"", "/flags/allowInsecureEndpoint"),
        ("image.digest=\"sha256:12\"", "/image/digest"),
        ("image.repository=\"\"", "/image/repository"),
        ("image.architectures=\"amd64\"", "/image/architectures"),
        ("commonLabels={\"replicas\":2}", "/commonLabels/replicas"),
        ("rbac.secrets=\"all\"", "/rbac/secrets"),
        ("rbac.secrets=[\"fleet\"]", "/rbac/secrets"),
        ("rbac.secrets={\"fleet\":\"clouddc\"}", "/rbac/secrets/fleet"),
        ("podSecurityContext=\"none\"", "/podSecurityContext"),
        ("extraObjects={\"kind\":\"Secret\"}", "/extraObjects"),
        ("networkPolicy.dnsPorts=[]", "/networkPolicy/dnsPorts"),
        ("monitoring.dashboard.title=\"x\"", "'title'"),
        ("guards.default.maxInstanceIDs=\"500\"", "/guards/default/maxInstanceIDs"),
        ("guards.default.maxInstanceIDs=5001", "/guards/default/maxInstanceIDs"),
        ("guards.default.maxInstanceIds=5", "'maxInstanceIds'"),
        ("guards={\"Production\":{\"requireExpect\":true}}", "Production"),
        ("guards.x={}", "/guards/x"),
        (
            "guards.x.protected.instances=[{\"id\":\"A\",\"reason\":\"y\"}]",
            "/guards/x/protected/instances/0/id",
        ),
        ("networkPolicy.egressPorts=[]", "/networkPolicy/egressPorts"),
        ("terminationGracePeriodSeconds=10", "/terminationGracePeriodSeconds"),
        ("monitoring.runbookURL=\"docs/alerts\"", "/monitoring/runbookURL"),
        ("nonsense=1", "'nonsense'"),
    ];
    for (value, place) in table {
        let said = rendered(shared(), &["--set-json", value]).expect_err(value);
        assert!(said.contains("schema") && said.contains(place), "{value}: {said}");
    }
}

/// A copy of the chart with these values as its own, as Helm takes it with `--reuse-values`: the values of the release before
/// are in the place of the chart's.
fn with_values(folder: &Path, values: &str) -> String {
    let copy = folder.join(NAME);
    assert!(Command::new("cp").arg("-r").arg(chart()).arg(&copy).status().unwrap().success());
    fs::write(copy.join("values.yaml"), values).unwrap();
    copy.display().to_string()
}

/// Keys of maps that an object takes as they are: of these each key may be taken away.
const WHOLE: [&str; 5] = ["resources", "podSecurityContext", "securityContext", "labels", "guards"];

/// The same keys with null as their values, down to the innermost that are not part of an object.
fn nulls(values: &Value) -> Value {
    let map = values.as_object().unwrap();
    let null = |(key, value): (&String, &Value)| {
        let inner = value.as_object().is_some_and(|map| !map.is_empty()) && !WHOLE.contains(&key.as_str());
        (key.clone(), if inner { nulls(value) } else { Value::Null })
    };
    Value::Object(map.iter().map(null).collect())
}

#[test]
fn what_is_null_or_absent_is_as_the_defaults_say() {
    let text = fs::read_to_string(Path::new(&chart()).join("values.yaml")).unwrap();
    let values: Value = serde_saphyr::from_str(&text).unwrap();
    let default = rendered(shared(), &[]).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let blocks = values.as_object().unwrap().keys().map(|key| (key.clone(), Value::Null)).collect();
    for (what, given) in [("blocks", Value::Object(blocks)), ("keys", nulls(&values))] {
        let file = folder.path().join(what);
        fs::write(&file, given.to_string()).unwrap();
        let objects = rendered(shared(), &["--values", &file.display().to_string()]);
        assert_same(&default, &objects.unwrap_or_else(|error| panic!("{what}: {error}")), &[]);
    }
    assert_same(&default, &template(&with_values(folder.path(), ""), &[]), &[]);
    // Each value has a place in the schema, and each of the schema's is a value: but for what a parent chart adds.
    let schema = schema();
    let mut known: Vec<&String> = schema["properties"].as_object().unwrap().keys().collect();
    known.retain(|key| !["global", "enabled"].contains(&key.as_str()));
    let mut own: Vec<&String> = values.as_object().unwrap().keys().collect();
    known.sort();
    own.sort();
    assert_eq!(known, own);
}

/// values-before.yaml are the values of 2026-11-29, which knew no security context, no list of Secrets and no ports of DNS.
#[test]
fn the_values_of_the_chart_before_render_with_this_one() {
    let folder = tempfile::tempdir().unwrap();
    let reused = template(&with_values(folder.path(), BEFORE), &[]);
    // They said that all Secrets may be read.
    let now = rendered(shared(), &["--set", "rbac.secrets=true"]).unwrap();
    assert_eq!(reused.keys().collect::<Vec<_>>(), now.keys().collect::<Vec<_>>());
    let differ =
        now.iter().filter(|(key, object)| reused[*key] != **object).map(|((kind, ..), _)| kind.as_str());
    assert_eq!(
        differ.collect::<Vec<_>>(),
        ["Deployment", "NetworkPolicy"],
        "resources and ports are those of before"
    );
    let pod = |objects: &Objects| of_kind(objects, "Deployment")[0]["spec"]["template"]["spec"].clone();
    assert_eq!(pod(&reused)["securityContext"], pod(&now)["securityContext"]);
    assert_eq!(pod(&reused)["affinity"], pod(&now)["affinity"]);
    let resources = json!({"requests": {"cpu": "50m", "memory": "64Mi"}, "limits": {"memory": "256Mi"}});
    assert_eq!(pod(&reused)["containers"][0]["resources"], resources);
    let egress = |objects: &Objects| of_kind(objects, "NetworkPolicy")[0]["spec"]["egress"].clone();
    assert_eq!(egress(&reused)[0], egress(&now)[0], "names");
}

/// What protected instances in a release before must not be lost in silence.
#[test]
fn guards_that_were_values_of_the_policy_are_asked_for_as_guards() {
    for before in [
        r#"policy.protected={"0198170e-4ca7-7ee4-89a7-fa6318439299":"database"}"#,
        "policy.maxInstanceIDs=400",
    ] {
        let said = rendered(shared(), &["--set-json", before]).expect_err(before);
        assert!(said.contains("write them as guards.NAME.maxInstanceIDs"), "{before}: {said}");
    }
    let guard = r#"guards.production={"protected":{"names":["*-db-*"]},"namespaceSelector":{"matchLabels":{"tier":"production"}}}"#;
    let objects = rendered(shared(), &["--set-json", guard]).unwrap();
    let specs: Vec<_> =
        of_kind(&objects, "DeletionGuard").into_iter().map(|guard| guard["spec"].clone()).collect();
    let production = json!({"protected": {"names": ["*-db-*"]}, "namespaceSelector": {"matchLabels": {"tier": "production"}}});
    assert_eq!(specs, [json!({"maxInstanceIDs": 500}), production]);
}

/// `make lint` holds the README to the values. Each of them says what it is for.
#[test]
fn each_value_is_described_in_the_readme() {
    let text = fs::read_to_string(Path::new(&chart()).join("README.md")).unwrap();
    let table = text.split("## Values").nth(1).unwrap();
    let rows: Vec<&str> = table.lines().filter(|line| line.starts_with("| ")).skip(1).collect();
    assert!(rows.len() > 40, "{rows:?}");
    for row in rows {
        let description = row.trim_end_matches('|').rsplit('|').next().unwrap().trim();
        assert!(description.len() > 10, "{row}");
    }
}
