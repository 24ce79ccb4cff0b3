//! What a person or a probe can ask a running module: `/healthz`, `/readyz`, `/status`, `POST /drain`,
//! `POST /relays/{name}/reconnect`, the same JSON under Envoy's admin, and a page for people, the inspector.

pub mod inspect;
mod routes;
pub mod server;
pub mod snapshot;
pub mod token;
