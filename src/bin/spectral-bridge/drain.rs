//! `drain`: lets a running instance finish what it has and leave its relays, and waits for that.
//!
//! What a preStop hook runs where neither a shell nor curl is at hand. Deliberately absent: ending Envoy, which whoever
//! started it does next.

use std::process::ExitCode;
use std::time::Duration;

use http::{Method, StatusCode};

use crate::Refusal;
use crate::cli::DrainArgs;
use crate::status;

/// Asks for the drain and waits for its end.
pub fn run(options: &DrainArgs) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(e) => return said(&e.to_string(), UNREACHABLE),
    };
    match runtime.block_on(ask(options)) {
        Ok(Ok(())) => {
            println!("drained");
            ExitCode::SUCCESS
        }
        Ok(Err(unfinished)) => said(&unfinished, UNFINISHED),
        Err(unreachable) => said(&unreachable, UNREACHABLE),
    }
}

fn said(why: &str, code: u8) -> ExitCode {
    eprintln!("Error: {why}");
    ExitCode::from(code)
}

/// Whether it came to its end, or why not.
///
/// # Errors
/// Nothing answers there.
async fn ask(options: &DrainArgs) -> Result<Result<(), String>, Refusal> {
    let (status, body) =
        status::fetch_within(PATIENCE, &options.address, Method::POST, "/drain?wait=true", None).await?;
    let text = String::from_utf8_lossy(&body).trim_end().to_owned();
    Ok(match status {
        StatusCode::OK => Ok(()),
        StatusCode::ACCEPTED => Err(format!("{}: still draining: {text}", options.address)),
        _ => Err(format!("{}: answered {status} to POST /drain: {text}", options.address)),
    })
}

const UNFINISHED: u8 = 1;
const UNREACHABLE: u8 = 2;

/// Above the 600 s after which the status server says that it still drains.
const PATIENCE: Duration = Duration::from_secs(610);
