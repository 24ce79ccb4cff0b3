//! Tier 1: what goes in, then what comes out, one file per concern. Tier 2: `model`.

mod acks;
mod admission;
mod backoff;
mod bounds;
mod drain;
mod duplicates;
mod faults;
mod harness;
mod hello;
mod keepalive;
mod model;
mod reconnect;
mod seeded;
mod settings;
mod stops;
mod timeouts;
mod totals;
mod version_1;
