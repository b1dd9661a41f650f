//! `generate`: from a rack at the cloud to manifests for review.

use clouddc_simulator::{AccessKey, Fault, Operation, Projects, RowFacts, User};
use control_plane::Output;
use harness::{PROJECT, Stage};
use serde_json::{Value, json};

use crate::support::{call, id, idel, ids, stage};

/// Machines of two racks, and one elsewhere: `rack-12-node-N` in rack 12, `db-N` in rack 13.
fn machines(stage: &Stage) {
    stage.cloud.add_instances(PROJECT, ids(6));
    for n in 0..6 {
        let changed = stage.cloud.change_facts(PROJECT, &id(n), |facts| {
            let rack = if n < 4 { "12" } else { "13" };
            facts.server.rack = rack.into();
            facts.server.unit = (12 - 2 * n).to_string();
            facts.name = if n < 4 { format!("rack-12-node-{n}") } else { format!("db-{n}") };
            facts.vpc_id = "vpc-1".into();
            facts.tags.insert("rack".to_owned(), rack.to_owned());
            facts.tags.insert("env".to_owned(), if n % 2 == 0 { "staging" } else { "production" }.to_owned());
            facts.created_at = format!("2025-0{}-01T00:00:00Z", n + 1);
            facts.network_interfaces[0].ipv4_address = format!("10.0.0.{n}");
        });
        assert!(changed);
    }
}

/// Arguments of a call with the stage's Secret and cloud.
fn generate<'a>(stage: &'a Stage, arguments: &[&'a str]) -> Vec<&'a str> {
    let place = ["generate", "--region", "ap-southeast-3", "--project", PROJECT, "--secret", "clouddc"];
    let cloud =
        ["--endpoint", stage.cloud.url(), "--iam-endpoint", stage.cloud.url(), "--allow-insecure-endpoint"];
    [&place[..], &cloud, arguments].concat()
}

fn run(stage: &Stage, arguments: &[&str]) -> crate::support::Said {
    idel(stage, &generate(stage, arguments))
}

/// The documents of a YAML text.
fn documents(text: &str) -> Vec<Value> {
    text.split("---\n").map(|document| serde_saphyr::from_str(document).unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rack_becomes_a_manifest_for_review() {
    let stage = stage("generate").await;
    machines(&stage);
    stage.cloud.set_state(PROJECT, &id(1), "shutting-down");
    let said = run(&stage, &["--rack", "12"]);
    let manifest = format!(
        "\
# 3 instances: rack 12.
apiVersion: clouddc.dev/v1alpha1
kind: InstanceDeletion
metadata:
  name: retire-rack-12
  namespace: {}
spec:
  region: ap-southeast-3
  projectID: 0123456789abcdef0123456789abcdef
  credentialsSecretRef:
    name: clouddc
  dryRun: true
  expect:
    vpcID: vpc-1
    tags:
      rack: \"12\"
    createdBefore: \"2025-04-01T00:00:01Z\"
  rollout:
    maxInFlight: 100
    maxFailed: 5
  instanceIDs:
  - 0198170e-4ca7-7ee4-89a7-000000000003 # rack-12-node-3, rack 12 unit 6, 10.0.0.3, running
  - 0198170e-4ca7-7ee4-89a7-000000000002 # rack-12-node-2, rack 12 unit 8, 10.0.0.2, running
  - 0198170e-4ca7-7ee4-89a7-000000000000 # rack-12-node-0, rack 12 unit 12, 10.0.0.0, running
",
        stage.namespace
    );
    assert_eq!((said.code, said.out.as_str()), (0, manifest.as_str()), "{}", said.err);
    assert_eq!(
        said.err,
        "left out: 1 instance on their way already (shutting-down)\n3 instances in 1 object\n"
    );
    assert_eq!(run(&stage, &["--rack", "12"]).out, manifest, "the same again");
    // The API server takes it.
    let output: Output = stage.kubectl_in(&["apply", "--dry-run=server", "-f", "-"], &said.out).unwrap();
    assert!(output.status.success(), "{}", output.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_choice_lists_what_it_says_and_expects_it() {
    let stage = stage("generate-choices").await;
    machines(&stage);
    stage.cloud.set_state(PROJECT, &id(2), "stopped");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ids");
    std::fs::write(&file, format!("# chosen\n- {}\n{} # why\n\n{}\n", id(4), id(0), id(99))).unwrap();
    let file = file.to_str().unwrap();
    let name = json!({"name": "rack-12-*"});
    let rack = json!({"tags": {"rack": "13"}});
    let table: [(&[&str], &[usize], Value); 9] = [
        (&["--tag", "rack=13"], &[5, 4], rack),
        (
            &["--tag", "rack=12", "--tag", "env=staging"],
            &[2, 0],
            json!({"tags": {"rack": "12", "env": "staging"}}),
        ),
        (&["--name", "rack-12-*"], &[3, 2, 1, 0], name),
        (&["--vpc", "vpc-1", "--rack", "13"], &[5, 4], json!({"vpcID": "vpc-1"})),
        (&["--rack", "12", "--rack", "13", "--name", "*-2"], &[2], json!({"name": "*-2"})),
        (
            &["--created-before", "2025-02-01T00:00:00Z"],
            &[0],
            json!({"createdBefore": "2025-02-01T00:00:00Z"}),
        ),
        (
            &["--state", "stopped"],
            &[2],
            json!({"vpcID": "vpc-1", "tags": {"rack": "12", "env": "staging"}, "createdBefore": "2025-03-01T00:00:01Z"}),
        ),
        (
            &["--id-file", file],
            &[0, 4],
            json!({"vpcID": "vpc-1", "tags": {"env": "staging"}, "createdBefore": "2025-05-01T00:00:01Z"}),
        ),
        (&["--dc", "dc-1", "--rack", "13", "--no-expect"], &[5, 4], Value::Null),
    ];
    for (arguments, expected, expect) in table {
        let said = run(&stage, arguments);
        assert_eq!(said.code, 0, "{arguments:?} {}", said.err);
        let [document] = &documents(&said.out)[..] else { panic!("one object") };
        let expected: Vec<String> = expected.iter().map(|n| id(*n)).collect();
        assert_eq!(document["spec"]["instanceIDs"], json!(expected), "{arguments:?}");
        assert_eq!(document["spec"]["expect"], expect, "{arguments:?}");
    }
    let unknown = run(&stage, &["--id-file", file]).err;
    assert!(
        unknown.contains(&format!(
            "left out: 1 id of the file that the cloud does not know, such as {}",
            id(99)
        ))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn instances_may_be_powered_off_first_and_stay_off_for_days() {
    let stage = stage("generate-off").await;
    machines(&stage);
    let table = [
        (&["--power-off", "always", "--soak", "3d"][..], json!({"when": "Always", "soakSeconds": 259_200})),
        (&["--power-off", "always"], json!({"when": "Always"})),
        (&["--power-off", "if-refused"], json!({"when": "IfRefused"})),
        (&[], Value::Null),
    ];
    for (arguments, power_off) in table {
        let said = run(&stage, &[&["--rack", "13"], arguments].concat());
        assert_eq!(said.code, 0, "{arguments:?} {}", said.err);
        assert_eq!(documents(&said.out)[0]["spec"]["powerOff"], power_off, "{arguments:?}");
        let taken = stage.kubectl_in(&["apply", "--dry-run=server", "-f", "-"], &said.out).unwrap();
        assert!(taken.status.success(), "{}", taken.stderr);
    }
    let refused = [
        (&["--soak", "3d"][..], "--power-off <WHEN>"),
        (
            &["--power-off", "if-refused", "--soak", "1h"],
            "error: --soak needs --power-off always; with if-refused",
        ),
        (&["--power-off", "always", "--soak", "91d"], "a soak takes at most 90d"),
        (&["--power-off", "always", "--soak", "3"], "is no duration such as 90s, 30m, 2h or 3d"),
        (&["--power-off", "never"], "[possible values: always, if-refused]"),
    ];
    for (arguments, why) in refused {
        let said = run(&stage, &[&["--rack", "13"], arguments].concat());
        assert!(
            said.code == 2 && said.out.is_empty() && said.err.contains(why),
            "{arguments:?} {}",
            said.err
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_choice_writes_nothing() {
    let stage = stage("generate-empty").await;
    machines(&stage);
    let nothing = "error: no instance is left to delete, so no manifest was written; check the options\n";
    for (arguments, expected) in [
        (&["--name", "nobody"][..], nothing),
        (
            &["--rack", "99"],
            "error: no server is in such a rack or room; check the names of --rack and --dc\n",
        ),
    ] {
        let said = run(&stage, arguments);
        assert_eq!((said.code, said.out.as_str(), said.err.as_str()), (1, "", expected), "{arguments:?}");
    }
    for n in 0..6 {
        stage.cloud.set_state(PROJECT, &id(n), "terminated");
    }
    let said = run(&stage, &["--rack", "12"]);
    let expected = format!("left out: 4 instances gone already (terminated)\n{nothing}");
    assert_eq!((said.code, said.out.as_str(), said.err), (1, "", expected));
}

#[tokio::test(flavor = "multi_thread")]
async fn facts_that_cannot_be_read_are_left_out() {
    let stage = stage("generate-odd").await;
    machines(&stage);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ids");
    std::fs::write(&file, ids(2).join("\n")).unwrap();
    for form in [RowFacts::Absent, RowFacts::Odd] {
        stage.cloud.set_row_facts(form);
        let said = run(&stage, &["--id-file", file.to_str().unwrap()]);
        assert_eq!(said.code, 0, "{}", said.err);
        assert!(
            said.err.contains("spec.expect is left out: no fact of these instances could be read"),
            "{}",
            said.err
        );
        let ids =
            format!("  - {} # without a name, running\n  - {} # without a name, running\n", id(0), id(1));
        assert!(said.out.ends_with(&ids), "{}", said.out);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_instances_become_several_objects_in_files() {
    let stage = stage("generate-many").await;
    stage.cloud.add_instances(PROJECT, ids(1_203));
    let folder = tempfile::tempdir().unwrap();
    let into = folder.path().join("fleet");
    let into = into.to_str().unwrap();
    stage.cloud.set_page_rows(Some(100));
    let said = run(&stage, &["--vpc", "none", "--output-dir", into]);
    assert_eq!(said.code, 1, "no machine is there");
    for n in 0..1_203 {
        assert!(stage.cloud.change_facts(PROJECT, &id(n), |facts| facts.vpc_id = "vpc-1".into()));
    }
    let said = run(&stage, &["--vpc", "vpc-1", "--output-dir", into, "--object-name", "old"]);
    assert_eq!(said.good(), format!("{into}/old-1.yaml\n{into}/old-2.yaml\n{into}/old-3.yaml\n"));
    let read = |n| documents(&std::fs::read_to_string(format!("{into}/old-{n}.yaml")).unwrap()).remove(0);
    let sizes: Vec<usize> =
        (1..=3).map(|n| read(n)["spec"]["instanceIDs"].as_array().unwrap().len()).collect();
    assert_eq!(sizes, [500, 500, 203]);
    let lists = stage.cloud.calls(Operation::ListInstances);
    assert!(lists.len() >= 13, "page by page: {}", lists.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn each_kind_of_credentials_lists() {
    let stage = stage("generate-credentials").await;
    machines(&stage);
    stage.cloud.add_access_key(AccessKey::new("key", "AK1", "SK1", Projects::All));
    stage.cloud.add_user(User::new("u", "p", "d", Projects::All));
    let works = |what: &str| assert_eq!(run(&stage, &["--rack", "13"]).code, 0, "{what}");
    works("token");
    stage.secret_data(&json!({"accessKeyID": "AK1", "secretAccessKey": "SK1"})).unwrap();
    works("access key");
    stage.secret_data(&json!({"username": "u", "password": "p", "domainName": "d"})).unwrap();
    works("user");

    // The variables of the vendor's tools, and no cluster.
    let mut arguments = generate(&stage, &["--rack", "13", "--kubeconfig", "/absent"]);
    arguments.retain(|argument| !["--secret", "clouddc"].contains(argument));
    let with = |secret: &str| {
        let call =
            call(&stage, &arguments).env("HUAWEICLOUD_SDK_AK", "AK1").env("HUAWEICLOUD_SDK_SK", secret);
        call.run().unwrap()
    };
    let output = with("SK1");
    assert!(output.status.success() && output.stdout.contains("name: clouddc"), "{}", output.stderr);
    assert!(!output.stdout.contains("namespace:"), "none was named");
    let output = with("wrong");
    assert_eq!(output.status.code(), Some(1));
    assert!(
        output.stderr.contains("CredentialsRejected: APIGW.0301")
            && output.stderr.contains("; use valid credentials"),
        "{}",
        output.stderr
    );
    let without = call(&stage, &arguments).run().unwrap();
    assert!(
        without.status.code() == Some(2) && without.stderr.contains("no credentials for the cloud"),
        "{}",
        without.stderr
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_cloud_refuses_is_said_with_what_to_do() {
    let stage = stage("generate-errors").await;
    machines(&stage);
    let refused =
        |operation| Fault::on(operation).reply_error(403, "iMetal.0004", "Insufficient permissions");
    stage.cloud.script(refused(Operation::ListServers));
    let (code, err) = run(&stage, &["--rack", "12"]).failure();
    assert!(
        code == 1
            && err.starts_with("error: listing servers: Forbidden: iMetal.0004 Insufficient permissions"),
        "{err}"
    );
    assert!(
        err.ends_with("; grant the user clouddc:instance:list and clouddc:imetal:list in this project\n"),
        "{err}"
    );
    // What needs no rack goes on without them.
    let said = run(&stage, &["--name", "db-*"]);
    assert!(
        said.code == 0 && said.err.contains("racks are left out: listing servers: Forbidden"),
        "{}",
        said.err
    );
    assert!(said.out.contains("# db-4, 10.0.0.4, running"), "{}", said.out);
    stage.cloud.clear_faults();

    stage.cloud.script(Fault::on(Operation::ListInstances).times(2).reply_error(
        429,
        "APIGW.0308",
        "slow down",
    ));
    assert_eq!(run(&stage, &["--rack", "12"]).code, 0, "throttled twice");
    stage.cloud.script(Fault::on(Operation::ListInstances).reply_error(404, "APIGW.0101", "not published"));
    let (code, err) = run(&stage, &["--rack", "12"]).failure();
    assert!(
        code == 1
            && err.contains("EndpointMisconfigured")
            && err.ends_with("; check --region and --endpoint\n"),
        "{err}"
    );

    let mut arguments = generate(&stage, &["--rack", "12"]);
    for argument in &mut arguments {
        if *argument == stage.cloud.url() {
            *argument = "http://127.0.0.1:9";
        }
    }
    let (code, err) = idel(&stage, &arguments).failure();
    assert!(code == 1 && err.contains("CloudUnreachable"), "{err}");
    assert!(err.ends_with("; check the network, --region, --endpoint and --ca-file\n"), "{err}");
}
