//! spectral-bridge for Envoy: the relay client of the spectral-bridge protocol as an Envoy dynamic module.
#![forbid(unsafe_code)]

pub mod config;
pub mod forward;
pub mod json;
pub mod protocol;
pub mod relay;
pub mod secret;
pub mod status;
pub mod usage;
