//! A mesh in small: clients, the real Envoy on a shipped file with the filter `usage`, and a model.

use std::net::SocketAddr;

use bytes::Bytes;
use hyper::Method;
use serde_json::Value;

use super::http::{self, Reply};
use super::site::DEADLINE;
use super::{Envoy, Scratch, free_address, render, workspace};
use crate::failed::Result;

/// A running Envoy between clients and a model.
#[derive(Debug)]
pub struct Gateway {
    /// The process.
    pub envoy: Envoy,
    /// Where clients connect.
    pub address: SocketAddr,
    _scratch: Scratch,
}

impl Gateway {
    /// Starts Envoy on `envoy/{file}` in front of the model at `model`; `edits` are made in the file beforehand.
    ///
    /// # Errors
    /// The file does not have what is to be edited, or Envoy does not become ready.
    pub async fn start(file: &str, model: SocketAddr, edits: &[(&str, &str)]) -> Result<Self> {
        Self::start_with(file, model, edits, &[]).await
    }

    /// [`Gateway::start`] with these variables in Envoy's environment.
    ///
    /// # Errors
    /// As [`Gateway::start`].
    pub async fn start_with(
        file: &str,
        model: SocketAddr,
        edits: &[(&str, &str)],
        variables: &[(String, String)],
    ) -> Result<Self> {
        let (scratch, admin, address) = (Scratch::new()?, free_address()?, free_address()?);
        let ports = [(9901, admin), (10000, address), (8000, model)]
            .map(|(shipped, own)| (format!("port_value: {shipped}"), format!("port_value: {}", own.port())));
        let mut all: Vec<(&str, &str)> = ports.iter().map(|(from, to)| (from.as_str(), to.as_str())).collect();
        all.extend(edits);
        let config = scratch.write("envoy.yaml", render(&workspace().join("envoy").join(file), &all)?)?;
        let variables: Vec<_> = variables
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        let mut envoy = Envoy::start_with(&config, admin, &variables, &FLUSH_AT_ONCE)?;
        envoy.ready(DEADLINE).await?;
        Ok(Self {
            envoy,
            address,
            _scratch: scratch,
        })
    }

    /// `http://127.0.0.1:PORT` and `path`.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// `POST path` with a JSON body under this request id.
    ///
    /// # Errors
    /// There was no whole answer.
    pub async fn post(&self, id: &str, path: &str, body: impl Into<Bytes>) -> Result<Reply> {
        let headers = [("content-type", "application/json"), ("x-request-id", id)];
        http::send(Method::POST, &self.url(path), &headers, body).await
    }

    /// What the access log says about the request with this id.
    ///
    /// # Errors
    /// It says nothing, or no JSON.
    pub async fn logged(&mut self, id: &str) -> Result<Value> {
        let line = self
            .envoy
            .process()
            .line(&format!("\"request_id\":\"{id}\""), DEADLINE)
            .await?;
        Ok(serde_json::from_str(&line)?)
    }

    /// The most memory that Envoy has had, in bytes.
    ///
    /// # Errors
    /// It is gone.
    pub fn peak_memory(&mut self) -> Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.envoy.process().id()))?;
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kilobytes: u64 = peak
            .and_then(|peak| peak.trim().trim_end_matches(" kB").parse().ok())
            .unwrap_or(u64::MAX);
        Ok(kilobytes.saturating_mul(1024))
    }
}

/// The access log at once, and histograms within a second.
const FLUSH_AT_ONCE: [&str; 2] = ["--file-flush-interval-msec", "20"];
