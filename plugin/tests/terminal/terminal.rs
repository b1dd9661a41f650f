//! A pseudo-terminal with the plugin in it, a picture of its screen, and a connection that can be cut.

use std::{
    fmt::Write as _,
    io::{Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    os::unix::process::CommandExt,
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use harness::{Stage, until};

use crate::support::{call, plugin};

/// A running plugin on a screen of its own.
pub struct Terminal {
    child: Child,
    seen: Arc<Mutex<Seen>>,
}

struct Seen {
    parser: vt100::Parser,
    bytes: Vec<u8>,
}

impl Terminal {
    /// Starts the plugin in the stage's namespace, on a screen of this size.
    pub fn start(
        stage: &Stage,
        (rows, columns): (u16, u16),
        arguments: &[&str],
        environment: &[(&str, &str)],
    ) -> Self {
        let written = format!(
            "stty rows {rows} cols {columns}; exec {} {} -n {}",
            plugin().display(),
            arguments.join(" "),
            stage.namespace
        );
        // Of util-linux: it runs the command in a pseudo-terminal, and writes here what the terminal gets.
        let mut command = Command::new("script");
        command.args(["-qefc", &written, "/dev/null"]);
        for (name, value) in call(stage, &[]).into_command().get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        command.env("TERM", "xterm-256color").envs(environment.iter().copied());
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).process_group(0).spawn().unwrap();
        let mut output = child.stdout.take().unwrap();
        let parser = vt100::Parser::new(rows, columns, 0);
        let seen = Arc::new(Mutex::new(Seen { parser, bytes: Vec::new() }));
        let written = Arc::clone(&seen);
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(n @ 1..) = output.read(&mut buffer) {
                let mut seen = written.lock().unwrap();
                seen.parser.process(&buffer[..n]);
                seen.bytes.extend(&buffer[..n]);
            }
        });
        Self { child, seen }
    }

    /// The lines of the screen, without blank ones at the end.
    pub fn lines(&self) -> Vec<String> {
        let seen = self.seen.lock().unwrap();
        let screen = seen.parser.screen();
        let mut lines: Vec<String> =
            screen.rows(0, screen.size().1).map(|line| line.trim_end().to_owned()).collect();
        while lines.last().is_some_and(String::is_empty) {
            lines.pop();
        }
        lines
    }

    /// All that was written so far.
    pub fn bytes(&self) -> String {
        String::from_utf8_lossy(&self.seen.lock().unwrap().bytes).into_owned()
    }

    /// Waits until the screen shows a text, and returns its lines.
    pub fn wait_for(&self, text: &str) -> Vec<String> {
        until(text, || Some(self.lines()).filter(|lines| lines.iter().any(|line| line.contains(text))))
    }

    /// Waits for the end of the plugin, and returns its exit code.
    pub fn wait_end(&mut self) -> i32 {
        until("the plugin has ended", || self.child.try_wait().unwrap()).code().unwrap()
    }

    /// The screen as SVG.
    pub fn picture(&self) -> String {
        let seen = self.seen.lock().unwrap();
        let screen = seen.parser.screen();
        let (rows, columns) = screen.size();
        let last = (0..rows).rev().find(|row| {
            (0..columns).any(|column| screen.cell(*row, column).is_some_and(vt100::Cell::has_contents))
        });
        let rows = last.map_or(1, |row| row + 1);
        let (width, height) = (f64::from(columns) * 8.4 + 32.0, f64::from(rows) * 18.0 + 32.0);
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width:.0} {height:.0}\" font-family=\"ui-monospace, Menlo, Consolas, monospace\" font-size=\"14\">\n<rect width=\"100%\" height=\"100%\" rx=\"8\" fill=\"#1e1e2e\"/>\n"
        );
        for row in 0..rows {
            let mut column = 0;
            while column < columns {
                // A run of cells of one colour.
                let look = |column| screen.cell(row, column).map(|cell| (colour(cell), cell.dim()));
                let from = column;
                let mut text = String::new();
                while column < columns && look(column) == look(from) {
                    let cell =
                        screen.cell(row, column).map(|cell| cell.contents().to_owned()).unwrap_or_default();
                    text += if cell.is_empty() { " " } else { &cell };
                    column += 1;
                }
                if text.trim().is_empty() {
                    continue;
                }
                let (fill, dim) = look(from).unwrap();
                let (x, y) = (16.0 + f64::from(from) * 8.4, 30.0 + f64::from(row) * 18.0);
                let length = f64::from(column - from) * 8.4;
                let opacity = if dim { " opacity=\"0.4\"" } else { "" };
                let text = text.replace('&', "&amp;").replace('<', "&lt;");
                writeln!(
                    svg,
                    "<text x=\"{x:.1}\" y=\"{y:.0}\" textLength=\"{length:.1}\" xml:space=\"preserve\" fill=\"{fill}\"{opacity}>{text}</text>"
                )
                .unwrap();
            }
        }
        svg + "</svg>\n"
    }
}

fn colour(cell: &vt100::Cell) -> &'static str {
    match cell.fgcolor() {
        vt100::Color::Idx(1 | 9) => "#f38ba8",
        vt100::Color::Idx(2 | 10) => "#a6e3a1",
        vt100::Color::Idx(3 | 11) => "#f9e2af",
        vt100::Color::Idx(6 | 14) => "#89dceb",
        _ => "#cdd6f4",
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // The end of the terminal ends what runs in it.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A way to the API server that can be cut.
pub struct Way {
    cut: Arc<AtomicBool>,
    open: Arc<Mutex<Vec<TcpStream>>>,
    /// A kubeconfig that leads through it.
    pub kubeconfig: PathBuf,
    _folder: tempfile::TempDir,
}

impl Way {
    /// Opens it.
    pub fn open(stage: &Stage) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let own = listener.local_addr().unwrap();
        let url = stage.control_plane.url();
        let server = url.strip_prefix("https://").unwrap().to_owned();
        let (cut, open) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Vec::new())));
        let (is_cut, streams) = (Arc::clone(&cut), Arc::clone(&open));
        std::thread::spawn(move || {
            for near in listener.incoming().flatten() {
                if is_cut.load(Ordering::SeqCst) {
                    continue;
                }
                let Ok(far) = TcpStream::connect(&server) else { continue };
                streams.lock().unwrap().extend([near.try_clone().unwrap(), far.try_clone().unwrap()]);
                pass(near.try_clone().unwrap(), far.try_clone().unwrap());
                pass(far, near);
            }
        });
        let folder = tempfile::tempdir().unwrap();
        let kubeconfig = folder.path().join("kubeconfig");
        let text = std::fs::read_to_string(stage.control_plane.kubeconfig()).unwrap();
        assert!(text.contains(&url));
        std::fs::write(&kubeconfig, text.replace(&url, &format!("https://{own}"))).unwrap();
        Self { cut, open, kubeconfig, _folder: folder }
    }

    /// Cuts every connection, and refuses new ones.
    pub fn cut(&self) {
        self.cut.store(true, Ordering::SeqCst);
        for stream in self.open.lock().unwrap().drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// Lets new connections through.
    pub fn mend(&self) {
        self.cut.store(false, Ordering::SeqCst);
    }
}

fn pass(mut from: TcpStream, mut to: TcpStream) {
    std::thread::spawn(move || {
        let mut buffer = [0; 16 << 10];
        while let Ok(n @ 1..) = from.read(&mut buffer) {
            if to.write_all(&buffer[..n]).is_err() {
                break;
            }
        }
        let _ = to.shutdown(Shutdown::Both);
    });
}
