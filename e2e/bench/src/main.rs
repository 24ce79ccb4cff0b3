//! `make bench`: the module side by side with the Python reference client and with what limits both.
//!
//! One program, several roles, each in a process of its own so that its CPU time can be told: `run` (the relay and the
//! load), `model`, `bare` (a forwarder that does nothing beyond forwarding) and `answerer` (no HTTP at all). Reading
//! order: `scenario` (what is measured), `systems` (on whom), `run` (in which order), `peer` and `http` (the load),
//! `check` (what makes a run void), `usage` (what it cost), `measured` (the figures, side by side), `report` (in words) and
//! `plot` (as a picture).

mod answerer;
mod bare;
mod check;
mod figures;
mod http;
mod load;
mod made;
mod measured;
mod model;
mod peer;
mod plot;
mod relay;
mod report;
mod run;
mod scenario;
mod systems;
mod ticker;
mod usage;
mod websocket;

use std::net::SocketAddr;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use e2e::failed::Result;

#[derive(Debug, Parser)]
#[command(about)]
struct Cli {
    #[command(subcommand)]
    role: Role,
}

#[derive(Debug, Subcommand)]
enum Role {
    /// Starts everything else, measures, and writes the report.
    Run(run::Options),
    /// The model: answers at once, or after the time that a request asks for.
    Model {
        /// Where it listens.
        #[arg(long)]
        listen: SocketAddr,
    },
    /// A forwarder that acks, forwards and answers, nothing else.
    Bare {
        /// `ws://` URL of the relay.
        #[arg(long)]
        relay: String,
        /// The bearer key.
        #[arg(long)]
        key: String,
        /// `unix:///path` or `http://host:port`.
        #[arg(long)]
        to: String,
    },
    /// Answers frames itself: the WebSocket leg alone.
    Answerer {
        /// `ws://` URL of the relay.
        #[arg(long)]
        relay: String,
        /// The bearer key.
        #[arg(long)]
        key: String,
    },
}

fn main() -> ExitCode {
    match start(Cli::parse().role) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error:?}");
            ExitCode::FAILURE
        }
    }
}

/// Every role has one thread: what a role costs beyond that would be taken from the systems that are measured.
fn start(role: Role) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, async {
        match role {
            Role::Run(options) => run::run(options).await,
            Role::Model { listen } => model::serve(listen).await,
            Role::Bare { relay, key, to } => bare::forward(&relay, &key, &to).await,
            Role::Answerer { relay, key } => answerer::answer(&relay, &key).await,
        }
    })
}
