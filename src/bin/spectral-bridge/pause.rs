//! `pause` and `resume`: tells a running instance's status server, with the token from the environment.

use std::process::ExitCode;

use http::{Method, StatusCode};

use crate::Refusal;
use crate::cli::{PauseArgs, STATUS_TOKEN_ENV};
use crate::status;

/// Asks for `act`, which is `pause` or `resume`.
pub fn run(options: &PauseArgs, act: &str) -> ExitCode {
    let token = std::env::var(STATUS_TOKEN_ENV).ok();
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(e) => return said(&e.to_string(), UNREACHABLE),
    };
    match runtime.block_on(ask(options, act, token.as_deref())) {
        Ok(Ok(done)) => {
            println!("{done}");
            ExitCode::SUCCESS
        }
        Ok(Err(refused)) => said(&refused, REFUSED),
        Err(unreachable) => said(&unreachable, UNREACHABLE),
    }
}

fn said(why: &str, code: u8) -> ExitCode {
    eprintln!("Error: {why}");
    ExitCode::from(code)
}

/// What was done, or why it was refused.
///
/// # Errors
/// Nothing answers there.
async fn ask(options: &PauseArgs, act: &str, token: Option<&str>) -> Result<Result<String, Refusal>, Refusal> {
    let token = token.map(str::trim).filter(|token| !token.is_empty());
    let path = match &options.relay {
        Some(name) => format!("/relays/{name}/{act}"),
        None => format!("/{act}"),
    };
    let (status, body) = status::fetch(&options.address, Method::POST, &path, token).await?;
    let text = String::from_utf8_lossy(&body).trim_end().to_owned();
    Ok(match status {
        StatusCode::ACCEPTED => Ok(done(&text, act)),
        StatusCode::UNAUTHORIZED if token.is_none() => Err(format!("{STATUS_TOKEN_ENV} is not set: {text}")),
        StatusCode::UNAUTHORIZED => Err(format!("{STATUS_TOKEN_ENV} is not the token: {text}")),
        _ => Err(format!("{}: answered {status} to POST {path}: {text}", options.address)),
    })
}

/// The names of the relays, for people.
fn done(answer: &str, act: &str) -> String {
    let answer: serde_json::Value = serde_json::from_str(answer).unwrap_or_default();
    let names = answer.as_object().and_then(|object| object.values().next());
    let names: Vec<&str> = names
        .and_then(serde_json::Value::as_array)
        .map(|names| names.iter().filter_map(serde_json::Value::as_str).collect())
        .unwrap_or_default();
    match names.as_slice() {
        [] => format!("{act}d nothing: there is no relay"),
        names => format!("{act}d {}", names.join(", ")),
    }
}

const REFUSED: u8 = 1;
const UNREACHABLE: u8 = 2;
