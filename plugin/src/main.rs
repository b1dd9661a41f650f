//! `kubectl idel`.

use std::process::ExitCode;

use kubectl_idel::Cli;

fn main() -> ExitCode {
    // The HTTP clients refuse to start without a crypto provider.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let cli = match Cli::parse_arguments() {
        Ok(cli) => cli,
        Err(answer) => {
            let _ = answer.print();
            return u8::try_from(answer.exit_code()).map_or(ExitCode::FAILURE, ExitCode::from);
        }
    };
    // One thread: the program waits for replies, and a person waits for its start.
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: no runtime: {error}");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(cli.run()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("error: {failure}");
            ExitCode::from(failure.exit as u8)
        }
    }
}
