//! The launcher: one command that starts Envoy with the module, with the habits of the Python command line client.
//!
//! Reading order: `cli` (what a user may ask for), `settings` (from options to the module's configuration), `target`
//! (where the model is), `bootstrap` (the Envoy configuration), `envoy` (finding and running it), `logs`, `status`, `pause`,
//! `drain`, `manual` (the man page and the completions), `doctor`.
//! Deliberately absent: speaking the protocol. The module inside Envoy does that, whoever starts Envoy.
#![forbid(unsafe_code)]

mod bootstrap;
mod cli;
mod doctor;
mod drain;
mod envoy;
mod logs;
mod manual;
mod pause;
mod private_dir;
mod settings;
mod start;
mod status;
mod target;
mod yaml;

use std::process::ExitCode;

use clap::Parser;

use cli::{Cli, Command};

/// Something a user must change; printed as one `Error:` line or a few.
type Refusal = String;

fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Start(options) => start::start(&options),
        Command::Config(options) => start::print_config(&options),
        Command::Doctor(options) => doctor::run(&options),
        Command::Status(options) => Ok(status::run(&options)),
        Command::Pause(options) => Ok(pause::run(&options, "pause")),
        Command::Resume(options) => Ok(pause::run(&options, "resume")),
        Command::Drain(options) => Ok(drain::run(&options)),
        Command::Completion { shell } => Ok(manual::completion(shell)),
        Command::Man => Ok(manual::page()),
        Command::RunEnvoy(options) => Err(envoy::become_envoy(&options)),
    };
    outcome.unwrap_or_else(|refusal| {
        eprintln!("Error: {refusal}");
        ExitCode::FAILURE
    })
}
