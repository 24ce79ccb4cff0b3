//! The promises of `envoy/gateway.yaml`: OpenAI's endpoints as a shared service in front of pools of models.

mod callers;
mod failover;
mod origins;
mod routes;
mod stopping;
mod world;
