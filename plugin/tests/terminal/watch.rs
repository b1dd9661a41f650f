//! `watch`: on terminals, in files, without a connection, and within its memory.

use std::{
    fs::File,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use harness::{Manifest, Stage, until};
use serde_json::{Value, json};

use crate::{
    support::{call, id, idel, ids, plugin, same, set_status, stage, status, summary, with},
    terminal::{Terminal, Way},
};

/// Creates objects of this many ids each.
fn create(stage: &Stage, objects: usize, size: usize) -> Vec<String> {
    let names: Vec<String> = (0..objects).map(|n| format!("retire-rack-{n:02}")).collect();
    let items: Vec<Value> = names.iter().map(|name| Manifest::new(name, &ids(size)).value).collect();
    for part in items.chunks(25) {
        let list = json!({"apiVersion": "v1", "kind": "List", "items": part});
        let created = stage.kubectl_in(&["create", "-f", "-"], &list.to_string()).unwrap();
        assert!(created.status.success(), "{}", created.stderr);
    }
    names
}

/// A status with `gone` of `size` terminated, and the next hundred on their way in two calls.
fn deleting(size: usize, gone: usize) -> Value {
    let on_their_way = (size - gone).min(100);
    let row = |n: usize| match n {
        n if n < gone => json!({"id": id(n), "phase": "Terminated", "batch": n / 50 + 1}),
        n if n < gone + on_their_way => json!({"id": id(n), "phase": "Accepted", "batch": n / 50 + 1}),
        n => json!({"id": id(n), "phase": "Pending"}),
    };
    let counted = |n: usize| u32::try_from(n).unwrap();
    let rows: Vec<Value> = (0..size).map(row).collect();
    let counts = summary(counted(size), counted(on_their_way), counted(gone), 0);
    with(status(1, "Deleting", "Deleting", "on it"), json!({"summary": counts, "instances": rows}))
}

fn succeeded(size: usize) -> Value {
    let fields =
        json!({"summary": summary(u32::try_from(size).unwrap(), 0, u32::try_from(size).unwrap(), 0)});
    with(status(1, "Succeeded", "AllTerminated", ""), fields)
}

/// Writes a status to each object, some at a time.
fn set_all(stage: &Stage, names: &[String], status: &Value) {
    std::thread::scope(|scope| {
        for part in names.chunks(names.len().div_ceil(4)) {
            scope.spawn(move || part.iter().for_each(|name| set_status(stage, name, status)));
        }
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn twenty_objects_of_ten_thousand_ids_fit_narrow_and_wide_terminals() {
    let stage = stage("w").await;
    let names = create(&stage, 20, 500);
    set_all(&stage, &names, &deleting(500, 0));
    let mut narrow = Terminal::start(&stage, (30, 80), &["watch", "--all"], &[]);
    let mut wide = Terminal::start(&stage, (30, 200), &["watch", "--all"], &[]);
    let mut plain = Terminal::start(&stage, (30, 80), &["watch", "--all"], &[("NO_COLOR", "1")]);
    for terminal in [&narrow, &wide, &plain] {
        terminal.wait_for("0 of 20 objects ended, 0/10000 gone, 0 failed");
    }
    let expected = |bar: usize| {
        names
            .iter()
            .map(|name| format!("{name} {} 0/500 Deleting 100 in 2 calls", "─".repeat(bar)))
            .collect::<Vec<_>>()
    };
    for (terminal, bar) in [(&narrow, 12), (&wide, 36)] {
        let shown = terminal.lines();
        assert_eq!(shown.len(), 21, "{shown:#?}");
        assert_eq!(shown[..20], expected(bar), "no line is broken, and none is lost");
    }
    set_all(&stage, &names[..10], &deleting(500, 250));
    for terminal in [&narrow, &wide, &plain] {
        let shown = terminal.wait_for("0 of 20 objects ended, 2500/10000 gone");
        assert!(shown.iter().filter(|line| line.contains(" 250/500 Deleting ")).count() == 10, "{shown:#?}");
        let first = terminal.wait_for("left, 100 in ");
        assert_eq!(first.len(), 21);
    }
    let coloured = |terminal: &Terminal| terminal.bytes().contains("\u{1b}[36m");
    assert!(coloured(&narrow) && !coloured(&plain), "NO_COLOR");
    set_all(&stage, &names, &succeeded(500));
    for terminal in [&mut narrow, &mut wide, &mut plain] {
        assert_eq!(terminal.wait_end(), 0);
        let shown = terminal.wait_for("20 of 20 objects ended, 10000/10000 gone, 0 failed");
        assert_eq!(shown.iter().filter(|line| line.ends_with("500/500 Succeeded")).count(), 20, "{shown:#?}");
    }
}

/// The plugin with its output in files.
struct Piped {
    child: Child,
    folder: tempfile::TempDir,
}

impl Piped {
    fn start(stage: &Stage, kubeconfig: &Path, arguments: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str| Stdio::from(File::create(folder.path().join(name)).unwrap());
        let mut command = Command::new(plugin());
        for (name, value) in call(stage, &[]).into_command().get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        command.args(arguments).args(["-n", &stage.namespace]).env("KUBECONFIG", kubeconfig);
        let child = command.stdin(Stdio::null()).stdout(file("out")).stderr(file("err")).spawn().unwrap();
        Self { child, folder }
    }

    fn text(&self, name: &str) -> String {
        std::fs::read_to_string(self.folder.path().join(name)).unwrap()
    }

    fn wait_for(&self, name: &str, text: &str) {
        until(text, || self.text(name).contains(text).then_some(()));
    }

    fn wait_end(&mut self) -> i32 {
        until("the plugin has ended", || self.child.try_wait().unwrap()).code().unwrap()
    }

    fn peak_memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().strip_suffix(" kB").unwrap().trim().parse::<u64>().unwrap() << 10
    }
}

impl Drop for Piped {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_gets_a_line_for_each_change_and_no_colour() {
    let stage = stage("watch-file").await;
    create(&stage, 2, 200);
    let kubeconfig = stage.control_plane.kubeconfig();
    let mut piped =
        Piped::start(&stage, kubeconfig, &["watch", "retire-rack-00", "retire-rack-01", "--interval", "1h"]);
    piped.wait_for("out", "retire-rack-01 Pending");
    set_status(&stage, "retire-rack-00", &deleting(200, 0));
    piped.wait_for("out", "Deleting");
    let throttled = with(deleting(200, 0), status(1, "Throttled", "Throttled", "10 calls a minute"));
    set_status(&stage, "retire-rack-00", &throttled);
    piped.wait_for("out", "Throttled");
    let counts = json!({
        "total": 200, "pending": 0, "poweringOff": 0, "poweredOff": 200, "submitted": 0, "accepted": 0, "terminated": 0,
        "notFound": 0, "failed": 0,
    });
    let fields = json!({"summary": counts, "instances": [], "nextActionTime": "2020-01-02T03:04:05Z"});
    let soaking =
        with(status(1, "Soaking", "Soaking", "each is deleted when it has been off for 60 s"), fields);
    set_status(&stage, "retire-rack-01", &soaking);
    piped.wait_for("out", "Soaking");
    set_status(&stage, "retire-rack-00", &succeeded(200));
    piped.wait_for("out", "rack-00 Succeeded");
    set_status(
        &stage,
        "retire-rack-01",
        &with(status(1, "Failed", "Failed", "all failed"), json!({"summary": summary(200, 0, 0, 200)})),
    );
    assert_eq!(piped.wait_end(), 1);
    let expected = "\
NS/retire-rack-00 Pending 0/200 gone
NS/retire-rack-01 Pending 0/200 gone
NS/retire-rack-00 Deleting 0/200 gone, 100 in 2 calls
NS/retire-rack-00 Throttled 0/200 gone, 100 in 2 calls; Throttled: 10 calls a minute
NS/retire-rack-01 Soaking 0/200 gone, 200 off
NS/retire-rack-00 Succeeded 200/200 gone
NS/retire-rack-01 Failed 0/200 gone, 200 failed; Failed: all failed
";
    assert_eq!(same(&stage, &piped.text("out")), expected);
    let why = "error: ended badly: NS/retire-rack-01 (Failed); `kubectl idel explain` says why\n";
    assert_eq!(same(&stage, &piped.text("err")), why);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_is_cut_for_ten_seconds_is_said_and_survived() {
    let stage = stage("watch-cut").await;
    create(&stage, 1, 200);
    set_status(&stage, "retire-rack-00", &deleting(200, 50));
    let way = Way::open(&stage);
    let through = way.kubeconfig.to_str().unwrap().to_owned();
    let mut piped = Piped::start(&stage, &way.kubeconfig, &["watch", "retire-rack-00"]);
    let mut shown = Terminal::start(&stage, (10, 80), &["watch", "--all", "--kubeconfig", &through], &[]);
    piped.wait_for("out", "50/200 gone");
    shown.wait_for("50/200");
    way.cut();
    let cut = Instant::now();
    piped.wait_for("err", "no connection, trying again: ");
    shown.wait_for("no connection for ");
    set_status(&stage, "retire-rack-00", &deleting(200, 150));
    until("ten seconds", || (cut.elapsed() > Duration::from_secs(10)).then_some(()));
    assert!(!piped.text("out").contains("150/200"));
    way.mend();
    shown.wait_for("150/200");
    piped.wait_for("err", "connected again after ");
    until("the notice is gone", || (!shown.lines().concat().contains("no connection")).then_some(()));
    set_status(&stage, "retire-rack-00", &succeeded(200));
    assert_eq!((piped.wait_end(), shown.wait_end()), (0, 0));
    assert_eq!(piped.text("err").lines().count(), 2, "{}", piped.text("err"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_exit_code_says_how_it_ended() {
    let stage = stage("watch-codes").await;
    create(&stage, 2, 1);
    let (code, err) = idel(&stage, &["watch", "--all", "--timeout", "1s"]).failure();
    assert_eq!((code, err.as_str()), (3, "error: 2 of 2 still running when the time limit passed\n"));
    // What rests is done for now.
    set_status(&stage, "retire-rack-00", &status(1, "LimitReached", "LimitReached", "5 of 100"));
    set_status(&stage, "retire-rack-01", &succeeded(1));
    let said = idel(&stage, &["watch", "--all"]);
    assert_eq!(said.code, 0, "{}", said.err);
    let rests = "NS/retire-rack-00 LimitReached 0/1 gone; LimitReached: 5 of 100";
    assert!(same(&stage, &said.out).replace(", ", "; ").contains(&rests.replace(", ", "; ")), "{}", said.out);
    // An edit that the controller has not seen: it does not rest.
    stage.patch("retire-rack-00", &json!({"suspend": true})).unwrap();
    assert_eq!(idel(&stage, &["watch", "--all", "--timeout", "1s"]).code, 3);
    let kubeconfig = stage.control_plane.kubeconfig();
    let mut piped = Piped::start(&stage, kubeconfig, &["watch", "retire-rack-00"]);
    piped.wait_for("out", "retire-rack-00");
    stage.kubectl(&["delete", "idel", "retire-rack-00"]).unwrap();
    assert_eq!(piped.wait_end(), 1);
    assert!(piped.text("err").contains("(Deleted)"), "{}", piped.text("err"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_objects_of_a_thousand_ids_take_little_memory() {
    let stage = stage("watch-memory").await;
    let names = create(&stage, 100, 1_000);
    set_all(&stage, &names, &deleting(1_000, 500));
    let mut piped = Piped::start(&stage, stage.control_plane.kubeconfig(), &["watch", "--all"]);
    piped.wait_for("out", "retire-rack-99 Deleting 500/1000");
    set_all(&stage, &names[..99], &succeeded(1_000));
    piped.wait_for("out", "retire-rack-98 Succeeded");
    let peak = piped.peak_memory();
    println!("figure: kubectl idel watch of 100 x 1,000 ids takes {} MB", peak >> 20);
    set_status(&stage, &names[99], &succeeded(1_000));
    assert_eq!(piped.wait_end(), 0);
    assert!(peak < 60 << 20, "{} MB", peak >> 20);
}

#[test]
fn it_starts_at_once() {
    // The best of some: the machine has other work.
    let best = (0..10).map(|_| {
        let started = Instant::now();
        let output = Command::new(plugin()).arg("--version").output().unwrap();
        assert!(output.status.success());
        started.elapsed()
    });
    let best = best.min().unwrap();
    println!("figure: kubectl idel --version takes {} ms", best.as_millis());
    assert!(best < Duration::from_millis(50), "{best:?}");
}
