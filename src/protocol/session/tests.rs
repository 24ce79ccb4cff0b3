//! Tier 1: what goes in, then what comes out, one file per concern.

mod acks;
mod backoff;
mod bounds;
mod drain;
mod duplicates;
mod faults;
mod harness;
mod hello;
mod keepalive;
mod reconnect;
mod seeded;
mod settings;
mod stops;
mod timeouts;
mod version_1;
