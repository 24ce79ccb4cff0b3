//! spectral-bridge for Envoy: the relay client of the spectral-bridge protocol as an Envoy dynamic module.
//!
//! # Map
//!
//! | Ring | Modules | What they may do |
//! |---|---|---|
//! | pure | [`protocol`], [`usage`], [`config`], [`json`], [`auth::tokens`], [`status::snapshot`], [`telemetry::names`] | compute and return values |
//! | shell | [`relay`], [`forward`], [`status::server`], [`secret`], [`auth::file`], [`telemetry`], [`relayed`], [`gateway`], [`client`], [`registry`] | own sockets, tasks and timers |
//! | seam | [`module`], [`filter`], [`auth`], [`stats`] | talk to Envoy, through the SDK in `envoy/sdk` |
//!
//! Arrows point inward: seam → shell → pure.
//!
//! # Reading order
//!
//! [`protocol`] and its tests, [`relay`], [`forward`], [`client`], [`registry`], [`module`], then `envoy/sdk/src/lib.rs`.
#![forbid(unsafe_code)]

pub mod auth;
pub mod client;
pub mod config;
pub mod filter;
pub mod forward;
pub mod gateway;
pub mod json;
pub mod module;
pub mod protocol;
pub mod registry;
pub mod relay;
pub mod relayed;
pub mod secret;
pub mod stats;
pub mod status;
pub mod telemetry;
pub mod usage;
