//! Where the model is: the target URL in the parts that an Envoy cluster and route need.

use std::net::IpAddr;

use http::Uri;

use crate::Refusal;

/// A model's base URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// `true` for `https`.
    pub tls: bool,
    /// Host name or IP address, without brackets.
    pub host: String,
    /// Port, the scheme's default when the URL named none.
    pub port: u16,
    /// What the protocol's paths are appended to: empty, or `/` and more, without a slash at the end.
    pub base_path: String,
}

/// How Envoy finds the target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HostKind {
    /// An address, used as it is.
    Ip(IpAddr),
    /// `localhost`: the loopback addresses. Not left to DNS, which may know only one, or a wrong one.
    Localhost,
    /// Asked of DNS again and again; several addresses are balanced.
    Name,
}

impl Target {
    /// Reads a URL.
    ///
    /// # Errors
    /// The URL is no base URL of an HTTP server. Never quoted when it has credentials.
    pub fn parse(url: &str) -> Result<Self, Refusal> {
        let url = url.trim();
        if url.contains('@') {
            return Err("--target: credentials in the URL are not supported, use --target-key-env NAME".to_owned());
        }
        let wrong = |why: &str| {
            Err(format!(
                "--target {url:?}: {why}, expected http://HOST[:PORT][/PATH] or https://…"
            ))
        };
        let Ok(uri) = url.parse::<Uri>() else {
            return wrong("not a URL");
        };
        let tls = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            Some(_) | None => return wrong("neither http:// nor https://"),
        };
        if uri.query().is_some() || url.contains('#') {
            return wrong("a base URL has no query and no fragment");
        }
        let Some(authority) = uri.authority() else {
            return wrong("no host");
        };
        let written = authority.host();
        let host = written
            .strip_prefix('[')
            .and_then(|h| h.strip_suffix(']'))
            .unwrap_or(written);
        if rustls_pki_types::ServerName::try_from(host).is_err() {
            return wrong("the host is neither a DNS name nor an IP address");
        }
        let port = match authority
            .as_str()
            .strip_prefix(written)
            .and_then(|rest| rest.strip_prefix(':'))
        {
            None => default_port(tls),
            Some(digits) => match digits.parse::<u16>() {
                Ok(port) if port > 0 => port,
                Ok(_) | Err(_) => return wrong("not a valid port"),
            },
        };
        let base_path = uri.path().trim_end_matches('/').to_owned();
        Ok(Self {
            tls,
            host: host.to_ascii_lowercase(),
            port,
            base_path,
        })
    }

    /// The `host` header that the target expects: no port when it is the scheme's own.
    pub fn authority(&self) -> String {
        let host = if self.host.contains(':') {
            format!("[{}]", self.host)
        } else {
            self.host.clone()
        };
        if self.port == default_port(self.tls) {
            host
        } else {
            format!("{host}:{}", self.port)
        }
    }

    /// How Envoy finds it.
    pub fn kind(&self) -> HostKind {
        if self.host == "localhost" {
            return HostKind::Localhost;
        }
        self.host.parse().map_or(HostKind::Name, HostKind::Ip)
    }

    /// What is probably not meant.
    pub fn warning(&self) -> Option<String> {
        let without = self.base_path.strip_suffix("/v1")?;
        let shorter = Self {
            base_path: without.to_owned(),
            ..self.clone()
        };
        Some(format!(
            "requests go to {self}/v1/chat/completions; if that is one /v1 too many, use --target {shorter}"
        ))
    }
}

/// The URL again, for people.
impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let scheme = if self.tls { "https" } else { "http" };
        write!(f, "{scheme}://{}{}", self.authority(), self.base_path)
    }
}

fn default_port(tls: bool) -> u16 {
    if tls { 443 } else { 80 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_users_write() {
        for (url, shown, port, kind) in [
            (
                "http://localhost:8000",
                "http://localhost:8000",
                8000,
                HostKind::Localhost,
            ),
            (
                "http://LOCALHOST:8000/",
                "http://localhost:8000",
                8000,
                HostKind::Localhost,
            ),
            (
                " https://Models.internal/openai/ ",
                "https://models.internal/openai",
                443,
                HostKind::Name,
            ),
            (
                "http://10.0.0.7",
                "http://10.0.0.7",
                80,
                HostKind::Ip("10.0.0.7".parse().unwrap()),
            ),
            (
                "https://[::1]:443/a//",
                "https://[::1]/a",
                443,
                HostKind::Ip("::1".parse().unwrap()),
            ),
        ] {
            let target = Target::parse(url).unwrap();
            assert_eq!(
                (target.to_string(), target.port, target.kind()),
                (shown.to_owned(), port, kind),
                "{url}"
            );
        }
    }

    #[test]
    fn says_what_is_wrong() {
        for (url, words) in [
            ("localhost:8000", "neither http:// nor https://"),
            ("model", "neither http:// nor https://"),
            ("ftp://h", "neither http:// nor https://"),
            ("", "not a URL"),
            ("http://", "not a URL"),
            ("http://h:0", "not a valid port"),
            ("http://h:", "not a valid port"),
            ("http://h:99999", "not a valid port"),
            ("http://h/?a=b", "no query"),
            ("http://h/#a", "no fragment"),
            ("http://-h-", "neither a DNS name"),
        ] {
            let refusal = Target::parse(url).unwrap_err();
            assert!(refusal.contains(words), "{url}: {refusal}");
        }
        let refusal = Target::parse("http://user:hunter2@h").unwrap_err();
        assert!(!refusal.contains("hunter2"), "{refusal}");
    }

    #[test]
    fn warns_of_a_doubled_version() {
        assert!(
            Target::parse("http://h/v1/")
                .unwrap()
                .warning()
                .unwrap()
                .contains("http://h/v1/v1/chat/completions")
        );
        assert_eq!(Target::parse("http://h/api").unwrap().warning(), None);
    }
}
