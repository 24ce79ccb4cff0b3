//! What a person or a probe can ask a running module: `/healthz`, `/readyz`, `/status`, `POST /drain`,
//! `POST /relays/{name}/reconnect`, and the same JSON under Envoy's admin.

mod routes;
pub mod server;
pub mod snapshot;
pub mod token;
