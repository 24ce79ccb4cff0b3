//! The Envoy bootstrap as commented YAML: admin, the module, the local listener, and the clusters.
//!
//! Written as text, section by section, because its reader is a person who takes parts of it into a mesh; parsing it
//! again is what the tests do. `envoy/sidecar.yaml` is what this renders for its placeholders. Deliberately absent:
//! secrets. The configuration only names where they come from.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use spectral_bridge::config::ForwardTo;

use crate::Refusal;
use crate::settings::Settings;
use crate::target::{HostKind, Target};
use crate::yaml::{block, quoted};

/// What a bootstrap is rendered from.
#[derive(Debug)]
pub struct Bootstrap<'a> {
    /// The module's configuration.
    pub settings: &'a Settings,
    /// The model.
    pub target: &'a Target,
    /// PEM roots for an https target.
    pub target_roots: Option<&'a str>,
    /// Envoy's admin page.
    pub admin: Admin,
}

/// Where Envoy's admin page listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Admin {
    /// A Unix socket that only this user can open.
    Socket(PathBuf),
    /// A port of 127.0.0.1; 0 for a free one.
    Port(u16),
}

impl Bootstrap<'_> {
    /// The whole file.
    ///
    /// # Errors
    /// A path is not UTF-8, or an https target has no roots to be verified with.
    pub fn render(&self) -> Result<String, Refusal> {
        let mut yaml = String::new();
        yaml.push_str(HEAD);
        yaml.push_str(&self.admin()?);
        yaml.push_str(OVERLOAD);
        yaml.push_str(&self.extension());
        yaml.push_str("\nstatic_resources:\n  listeners:\n");
        yaml.push_str(&self.listener()?);
        yaml.push_str("\n  clusters:\n");
        yaml.push_str(&self.adapter()?);
        yaml.push_str(&self.status());
        Ok(yaml)
    }

    fn admin(&self) -> Result<String, Refusal> {
        let address = match &self.admin {
            Admin::Port(port) => socket_address("127.0.0.1", *port),
            Admin::Socket(path) => pipe(path)?,
        };
        Ok(format!(
            "\n# Envoy's own admin page: statistics, /config_dump, and the module's status under /spectral_bridge.\nadmin:\n  address: {address}\n"
        ))
    }

    fn extension(&self) -> String {
        let value = block(&self.settings.value, 8);
        format!(
            r#"
# The relay client. It connects once the listener below accepts, and drains when Envoy is told to stop.
bootstrap_extensions:
- name: envoy.bootstrap.dynamic_modules
  typed_config:
    "@type": type.googleapis.com/envoy.extensions.bootstrap.dynamic_modules.v3.DynamicModuleBootstrapExtension
    dynamic_module_config:
      name: spectral_bridge   # libspectral_bridge.so in ENVOY_DYNAMIC_MODULES_SEARCH_PATH
      do_not_close: true      # its threads must not lose their code under them
      metrics_namespace: spectral_bridge   # its statistics: envoy_spectral_bridge_... in /stats/prometheus
    extension_name: relay
    extension_config:
      "@type": type.googleapis.com/google.protobuf.Struct
      value:
{value}"#
        )
    }

    /// The module dials this listener for every request, so that Envoy's filters, routes and logs apply to it.
    fn listener(&self) -> Result<String, Refusal> {
        let address = match self.settings.listener() {
            ForwardTo::Unix(path) => pipe(path)?,
            ForwardTo::Tcp { host, port } if host == "localhost" => socket_address("127.0.0.1", *port),
            ForwardTo::Tcp { host, port } => socket_address(host, *port),
        };
        let manager = self.connection_manager();
        Ok(format!(
            r#"  # Requests of the relay enter here, from the module only. The directory must exist before Envoy starts.
  - name: adapter
    address: {address}
    per_connection_buffer_limit_bytes: {BODY_BYTES}   # fits the protocol's largest frame
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
{manager}"#
        ))
    }

    fn connection_manager(&self) -> String {
        let route = self.route();
        let access_log = quoted(ACCESS_LOG);
        format!(
            r#"{MANAGER}          access_log:
          - name: envoy.access_loggers.stdout
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.access_loggers.stream.v3.StdoutAccessLog
              log_format:
                text_format_source:
                  inline_string: {access_log}
          route_config:
            name: adapter
            virtual_hosts:
            - name: adapter
              domains: ["*"]
              routes:
{route}          http_filters:
          - name: envoy.filters.http.router
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router
              # Keep: an answer without x-envoy-upstream-service-time is Envoy's own, not the model's.
              suppress_envoy_headers: false
"#
        )
    }

    fn route(&self) -> String {
        let mut yaml = String::from(
            "              - match: { prefix: \"/\" }\n                route:\n                  cluster: adapter\n",
        );
        if !self.target.base_path.is_empty() {
            let prefix = quoted(&format!("{}/", self.target.base_path));
            let _ = writeln!(
                yaml,
                "                  prefix_rewrite: {prefix}   # the target's own path"
            );
        }
        let authority = quoted(&self.target.authority());
        let _ = write!(
            yaml,
            r#"                  host_rewrite_literal: {authority}
                  timeout: 0s        # both: the module's request_timeout rules
                  idle_timeout: 0s
                  # PROTOCOL §2.5: never forward twice. Only these two mean that the model has seen nothing.
                  retry_policy: {{ retry_on: "connect-failure,refused-stream", num_retries: 2 }}
"#
        );
        yaml
    }

    fn adapter(&self) -> Result<String, Refusal> {
        // Envoy must not be the one that refuses: max_in_flight of every relay, and as much again for retries.
        let in_flight: usize = self
            .settings
            .config
            .relays
            .iter()
            .map(|relay| relay.max_in_flight)
            .sum();
        let breaker = (in_flight * 2).max(LEAST_BREAKER);
        let discovery = match self.target.kind() {
            HostKind::Ip(_) | HostKind::Localhost => "    type: STATIC\n",
            HostKind::Name => "    type: STRICT_DNS\n    dns_lookup_family: V4_PREFERRED\n",
        };
        let endpoint = self.endpoint();
        let tls = self.transport_socket()?;
        Ok(format!(
            r#"  # The model: an OpenAI-compatible server. Load balancing, health checks and outlier detection go here.
  - name: adapter
{discovery}    connect_timeout: 5s
    per_connection_buffer_limit_bytes: {BODY_BYTES}
    circuit_breakers:
      thresholds:
      - {{ max_connections: {breaker}, max_pending_requests: {breaker}, max_requests: {breaker}, max_retries: {breaker} }}
{UPSTREAM}    load_assignment:
      cluster_name: adapter
      endpoints:
      - lb_endpoints:
        - endpoint:
{endpoint}{tls}"#
        ))
    }

    fn endpoint(&self) -> String {
        let Target { host, port, .. } = self.target;
        let first = if self.target.kind() == HostKind::Localhost {
            "127.0.0.1"
        } else {
            host
        };
        let mut yaml = format!("            address: {}\n", socket_address(first, *port));
        // Not with TLS: a certificate that fails on the first address would be reported as a refusal of the second.
        if self.target.kind() == HostKind::Localhost && !self.target.tls {
            let second = socket_address("::1", *port);
            let _ = writeln!(yaml, "            additional_addresses: [ {{ address: {second} }} ]");
        }
        yaml
    }

    fn transport_socket(&self) -> Result<String, Refusal> {
        if !self.target.tls {
            return Ok(String::new());
        }
        let Some(roots) = self.target_roots else {
            return Err(
                "no CA bundle found to verify the https target with, name one with --target-ca-file".to_owned(),
            );
        };
        let host = quoted(&self.target.host);
        // SNI carries names only (RFC 6066 §3), so an address is verified by its own entry in the certificate.
        let (sni, san) = match self.target.kind() {
            HostKind::Ip(_) => (
                String::new(),
                format!(
                    "\n            match_typed_subject_alt_names: [ {{ san_type: IP_ADDRESS, matcher: {{ exact: {host} }} }} ]"
                ),
            ),
            HostKind::Localhost | HostKind::Name => (
                format!("        sni: {host}\n        auto_sni_san_validation: true\n"),
                String::new(),
            ),
        };
        Ok(format!(
            r#"    transport_socket:
      name: envoy.transport_sockets.tls
      typed_config:
        "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext
{sni}        common_tls_context:
          tls_params: {{ tls_minimum_protocol_version: TLSv1_2 }}
          validation_context:
            trusted_ca: {{ filename: {roots} }}{san}
"#,
            roots = quoted(roots),
        ))
    }

    /// Absent with a random port, which nobody knows before the module has started.
    fn status(&self) -> String {
        let listen = self.settings.config.status.listen;
        if listen.port() == 0 {
            return String::new();
        }
        let address = socket_address(&listen.ip().to_string(), listen.port());
        format!(
            r#"
  # The module's status server, so that a mesh can route to it and alert on it.
  - name: spectral_bridge_status
    type: STATIC
    connect_timeout: 1s
    health_checks:
    - timeout: 1s
      interval: 5s
      no_traffic_interval: 5s
      healthy_threshold: 1
      unhealthy_threshold: 2
      http_health_check: {{ path: /healthz, host: {host} }}
    load_assignment:
      cluster_name: spectral_bridge_status
      endpoints:
      - lb_endpoints:
        - endpoint: {{ address: {address} }}
"#,
            host = quoted(&listen.to_string()),
        )
    }
}

/// Where systems keep their CA bundle, most common first.
pub fn system_roots(ssl_cert_file: Option<&Path>) -> Option<String> {
    let fixed = CA_BUNDLES.iter().map(Path::new);
    let found = ssl_cert_file.into_iter().chain(fixed).find(|path| path.is_file())?;
    std::path::absolute(found).ok()?.into_os_string().into_string().ok()
}

const CA_BUNDLES: [&str; 6] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
    "/usr/local/share/certs/ca-root-nss.crt",
];

fn pipe(path: &Path) -> Result<String, Refusal> {
    let text = path
        .to_str()
        .ok_or_else(|| format!("{}: the path is not UTF-8", path.display()))?;
    Ok(format!(
        "{{ pipe: {{ path: {}, mode: 384 }} }}   # 384 is 0600: this user only",
        quoted(text)
    ))
}

fn socket_address(host: &str, port: u16) -> String {
    format!(
        "{{ socket_address: {{ address: {}, port_value: {port} }} }}",
        quoted(host)
    )
}

const HEAD: &str = "\
# spectral-bridge for Envoy. Start it with libspectral_bridge.so in ENVOY_DYNAMIC_MODULES_SEARCH_PATH.
node: { id: spectral-bridge, cluster: spectral-bridge }
";

const OVERLOAD: &str = r#"
# Only the module connects to the listener; this says so to Envoy, which would warn otherwise.
overload_manager:
  resource_monitors:
  - name: envoy.resource_monitors.global_downstream_max_connections
    typed_config:
      "@type": type.googleapis.com/envoy.extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig
      max_active_downstream_connections: 65536
"#;

/// The part of the connection manager that no option changes.
const MANAGER: &str = r#"          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: adapter
          codec_type: HTTP1
          # The module's request_timeout rules. Envoy's own defaults would cut long completions.
          stream_idle_timeout: 0s
          request_timeout: 0s
          max_request_headers_kb: 96
          common_http_protocol_options: { idle_timeout: 3600s, max_headers_count: 200 }
          generate_request_id: true
          preserve_external_request_id: true
"#;

/// The part of the model's cluster that no option changes.
const UPSTREAM: &str = r#"    # Long completions send nothing for minutes; this keeps firewalls on the way from forgetting them.
    upstream_connection_options: { tcp_keepalive: { keepalive_time: 60, keepalive_interval: 15, keepalive_probes: 4 } }
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        # Below the 5 s after which common Python and Node servers close idle connections: a request that meets such a
        # close cannot be sent again, since nobody knows whether the model has seen it.
        common_http_protocol_options: { idle_timeout: 4s, max_headers_count: 200 }
        explicit_http_config: { http_protocol_options: {} }
"#;

/// One line a request, no bodies, no header values but ids. The launcher knows its beginning.
const ACCESS_LOG: &str = "[%START_TIME_LOCAL(%H:%M:%S.%3f)%][access] %REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% \
%RESPONSE_CODE% %DURATION%ms relay=%REQ(X-SPECTRAL-BRIDGE-RELAY)% request=%REQ(X-SPECTRAL-BRIDGE-REQUEST-ID)% \
cluster=%UPSTREAM_CLUSTER% host=%UPSTREAM_HOST% in=%BYTES_RECEIVED% out=%BYTES_SENT% flags=%RESPONSE_FLAGS% \
details=%RESPONSE_CODE_DETAILS%\n";

/// A little over 16 MiB, the protocol's largest frame.
const BODY_BYTES: u32 = 17 * 1024 * 1024;

/// Envoy's default.
const LEAST_BREAKER: usize = 1024;

#[cfg(test)]
#[path = "bootstrap_tests.rs"]
mod tests;
