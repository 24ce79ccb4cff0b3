//! The relay server as a program: for the demo, for benchmarks, and for trying any client by hand.
#![forbid(unsafe_code)]

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use e2e::duration;
use e2e::relay::{MAX_FRAME_BYTES, Refusal, Relay, RelayOptions, TlsFiles, Version};
use tokio::signal::unix::{SignalKind, signal};

/// A relay server of the spectral-bridge protocol (PROTOCOL §3), for tests and demos.
#[derive(Parser)]
struct Arguments {
    /// Where clients connect: /connect.
    #[arg(long, default_value = "127.0.0.1:8900")]
    listen: SocketAddr,
    /// Where callers send requests; the same address as --listen when absent. Keep it on loopback: callers are not
    /// authenticated.
    #[arg(long)]
    http_listen: Option<SocketAddr>,
    /// The key of the relay `default`, which answers /v1/...; more relays by POST /relays.
    #[arg(long, env = "API_KEY", hide_env_values = true)]
    api_key: String,
    /// Protocol version.
    #[arg(long, default_value = "2")]
    protocol: Protocol,
    /// How an unknown key is refused: HTTP 403 before the upgrade, or close code 4001 after it.
    #[arg(long, default_value = "403")]
    refuse: Refuse,
    /// From sending a request to its response [default: 600s, version 1: 30s].
    #[arg(long, value_parser = duration::parse)]
    request_timeout: Option<Duration>,
    /// How long a request waits for a client that was connected and is not.
    #[arg(long, value_parser = duration::parse, default_value = "10s")]
    reconnect_wait: Duration,
    /// Age at which connections are closed with 4003.
    #[arg(long, value_parser = duration::parse)]
    rotate_after: Option<Duration>,
    /// Largest frame in bytes.
    #[arg(long, default_value_t = MAX_FRAME_BYTES)]
    max_frame_bytes: usize,
    /// PEM certificate chain for --listen.
    #[arg(long, requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// PEM private key for --listen.
    #[arg(long, requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// PEM certificates of the authorities of which clients must show a certificate (mTLS).
    #[arg(long, requires = "tls_cert")]
    tls_client_ca: Option<PathBuf>,
    /// Say nothing about connections and requests.
    #[arg(long)]
    quiet: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Protocol {
    #[value(name = "1")]
    V1,
    #[value(name = "2")]
    V2,
}

#[derive(Clone, Copy, ValueEnum)]
enum Refuse {
    #[value(name = "403")]
    Handshake,
    #[value(name = "4001")]
    Close,
}

impl Arguments {
    fn options(self) -> RelayOptions {
        let version = match self.protocol {
            Protocol::V1 => Version::V1,
            Protocol::V2 => Version::V2,
        };
        let defaults = RelayOptions::new(version, &self.api_key);
        RelayOptions {
            public: self.listen,
            internal: self.http_listen,
            refusal: match self.refuse {
                Refuse::Handshake => Refusal::Handshake,
                Refuse::Close => Refusal::Close,
            },
            request_timeout: self.request_timeout.unwrap_or(defaults.request_timeout),
            reconnect_wait: self.reconnect_wait,
            max_frame_bytes: self.max_frame_bytes,
            rotate_after: self.rotate_after,
            tls: self.tls_cert.zip(self.tls_key).map(|(cert, key)| TlsFiles {
                cert,
                key,
                client_ca: self.tls_client_ca,
            }),
            journal: false,
            log: !self.quiet,
            ..defaults
        }
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Arguments::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("relay: {e}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: Arguments) -> std::io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let relay = Relay::start(arguments.options()).await?;
    eprintln!("relay: clients connect to {}", relay.connect_url());
    eprintln!("relay: callers send to {}", relay.url("/v1/chat/completions"));
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    eprintln!("relay: stopping");
    relay.shutdown().await;
    Ok(())
}
