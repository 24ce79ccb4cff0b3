//! spectral-bridge for Envoy: the relay client of the spectral-bridge protocol as an Envoy dynamic module.
//!
//! # Map
//!
//! | Ring | Modules | What they may do |
//! |---|---|---|
//! | pure | [`protocol`], [`usage`], [`config`], [`json`], [`inspector::view`], [`auth::tokens`], [`status::snapshot`], [`telemetry::names`] | compute and return values |
//! | shell | [`relay`], [`forward`], [`chat`], [`status::server`], [`inspector`], [`secret`], [`auth::file`], [`telemetry`], [`relayed`], [`threads`], [`gateway`], [`client`], [`registry`] | own sockets, tasks and timers |
//! | seam | [`module`], [`filter`], [`auth`], [`stats`] | talk to Envoy, through the SDK in `envoy/sdk` |
//!
//! Arrows point inward: seam → shell → pure.
//!
//! # Reading order
//!
//! [`protocol`] and its tests, [`relay`], [`forward`], [`client`], [`chat`], [`registry`], [`module`], then `envoy/sdk/src/lib.rs`.
#![forbid(unsafe_code)]

pub mod auth;
pub mod chat;
pub mod client;
pub mod config;
pub mod filter;
pub mod forward;
pub mod gateway;
pub mod inspector;
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
pub mod threads;
pub mod usage;
