//! The signals that end the process.

use std::convert::Infallible;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

/// Makes the work that cancels the token at the first SIGTERM or SIGINT. A second signal ends the process at once with the exit code that a shell
/// reports (128 plus the signal's number: 143 or 130); calls in flight are then as after a crash.
pub fn cancel_on_signal(
    stop: CancellationToken,
) -> std::io::Result<impl Future<Output = Infallible> + Send + 'static> {
    // Register the handlers before returning: no later signal may take the default action.
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        let first = next(&mut terminate, &mut interrupt).await;
        info!(signal = name(first), "stopping");
        stop.cancel();
        let second = next(&mut terminate, &mut interrupt).await;
        warn!(signal = name(second), "stopped a second time; ending at once");
        std::process::exit(128 + second.as_raw_value())
    })
}

async fn next(terminate: &mut Signal, interrupt: &mut Signal) -> SignalKind {
    tokio::select! {
        _ = terminate.recv() => SignalKind::terminate(),
        _ = interrupt.recv() => SignalKind::interrupt(),
    }
}

fn name(signal: SignalKind) -> &'static str {
    if signal == SignalKind::terminate() { "SIGTERM" } else { "SIGINT" }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{BufRead, BufReader},
        process::{Child, ChildStdout, Command, Stdio},
        time::Duration,
    };

    use super::*;

    const IN_CHILD: &str = "SIGNALS_TEST_CHILD";

    /// Not a test by itself: the process that the tests below send signals to.
    #[test]
    fn child() {
        if std::env::var_os(IN_CHILD).is_none() {
            return;
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let stop = CancellationToken::new();
            tokio::spawn(cancel_on_signal(stop.clone()).unwrap());
            println!("\nwaiting");
            stop.cancelled().await;
            println!("\nstopped");
            // A drain that takes too long; the limit only keeps a failed test from leaving a process behind.
            tokio::time::sleep(Duration::from_secs(20)).await;
        });
    }

    fn started() -> (Child, BufReader<ChildStdout>) {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "runtime::signals::tests::child", "--nocapture", "--test-threads=1"])
            .env(IN_CHILD, "1")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut said = BufReader::new(child.stdout.take().unwrap());
        until(&mut said, "waiting");
        (child, said)
    }

    fn until(said: &mut BufReader<ChildStdout>, expected: &str) {
        assert!(said.lines().map_while(Result::ok).any(|line| line == expected), "never said {expected}");
    }

    fn send(signal: &str, to: &Child) {
        assert!(Command::new("kill").args([signal, &to.id().to_string()]).status().unwrap().success());
    }

    #[test]
    fn the_first_signal_stops_and_the_second_ends() {
        for (first, second, code) in [("-TERM", "-TERM", 143), ("-INT", "-INT", 130), ("-TERM", "-INT", 130)]
        {
            let (mut child, mut said) = started();
            send(first, &child);
            until(&mut said, "stopped");
            assert_eq!(child.try_wait().unwrap(), None, "{first} alone lets it drain");
            send(second, &child);
            assert_eq!(child.wait().unwrap().code(), Some(code), "{first}, {second}");
        }
    }
}
