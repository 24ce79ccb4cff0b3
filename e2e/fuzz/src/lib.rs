//! Fuzz targets: each takes any bytes, gives them to a part of the product, and panics where a promise is broken.
//!
//! `tests/replay.rs` runs them over `corpus/` in every `cargo test`; `explore/` lets libFuzzer search for more
//! (`make fuzz TARGET=frames SECONDS=60`). What it found worth keeping, by new coverage, is named `found-*`.
#![forbid(unsafe_code)]

mod frames;
mod session;
mod sse;
mod usage;
mod websocket;

pub use frames::frames;
pub use session::session;
pub use sse::sse;
pub use usage::usage;
pub use websocket::websocket;

use spectral_bridge::config::Config;

/// A target by name.
pub type Target = (&'static str, fn(&[u8]));

/// Every target; `corpus/` has a directory for each.
pub const TARGETS: [Target; 6] = [
    ("frames", frames),
    ("session", session),
    ("config", config),
    ("websocket", websocket),
    ("sse", sse),
    ("usage", usage),
];

/// A configuration is accepted whole or refused with every mistake; reading it twice gives the same.
pub fn config(data: &[u8]) {
    match Config::from_json(data) {
        Ok(config) => {
            assert!(!config.relays.is_empty(), "accepted without a relay");
            for (at, relay) in config.relays.iter().enumerate() {
                let same_name = |other: &spectral_bridge::config::Relay| other.name == relay.name;
                assert!(!config.relays[..at].iter().any(same_name), "two relays of one name");
                assert!(
                    relay.max_frame_bytes <= relay.max_held_bytes,
                    "a frame would not fit the budget"
                );
                assert!(relay.max_in_flight > 0 && !relay.paths.is_empty());
                assert!(!relay.url.to_string().contains('?'), "a query may hold a secret");
            }
            assert!(config.status.listen.ip().is_loopback());
            let _warnings: Vec<_> = config.warnings().iter().map(ToString::to_string).collect();
            assert_eq!(Config::from_json(data).as_ref(), Ok(&config));
        }
        Err(errors) => {
            let said: Vec<String> = errors.iter().map(ToString::to_string).collect();
            assert!(!said.is_empty(), "refused without a reason");
            assert!(
                said.iter().all(|line| !line.chars().any(|c| c.is_control())),
                "an error breaks the log's line"
            );
            assert_eq!(Config::from_json(data).unwrap_err(), errors);
        }
    }
}
