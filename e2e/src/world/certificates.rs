//! Certificates made for one test.

use std::path::PathBuf;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd};

use super::Scratch;
use crate::failed::Result;
use crate::relay::TlsFiles;

/// A certificate authority and one server certificate for `localhost` and `127.0.0.1`, as PEM files.
#[derive(Debug, Clone)]
pub struct Certificates {
    /// The authority: what a client is told to trust.
    pub ca: PathBuf,
    /// The server's certificate and key.
    pub server: TlsFiles,
    /// The authority itself, for more certificates.
    pub authority: Authority,
}

/// A certificate authority with a key of its own.
#[derive(Clone)]
pub struct Authority(Arc<CertifiedIssuer<'static, KeyPair>>);

/// What a certificate says that an authority signs.
#[derive(Debug, Clone, Copy)]
pub struct Leaf<'a> {
    /// The host names and addresses it is for.
    pub names: &'a [&'a str],
    /// Whether its time is over.
    pub expired: bool,
}

impl Certificates {
    /// Makes them in `scratch`.
    ///
    /// # Errors
    /// They cannot be made or written.
    pub fn make(scratch: &Scratch) -> Result<Self> {
        let authority = Authority::new("spectral-bridge test authority")?;
        Ok(Self {
            ca: scratch.write("ca.pem", authority.pem())?,
            server: authority.issue(scratch, "server", Leaf::good())?,
            authority,
        })
    }
}

impl Authority {
    /// A new authority of this name.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn new(name: &str) -> Result<Self> {
        let mut params = CertificateParams::new(Vec::new())?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        Ok(Self(Arc::new(CertifiedIssuer::self_signed(
            params,
            KeyPair::generate()?,
        )?)))
    }

    /// Its own certificate.
    #[must_use]
    pub fn pem(&self) -> String {
        self.0.pem()
    }

    /// Signs a certificate, written to `scratch` as `name.pem` and `name.key`, in place of those that are there.
    ///
    /// # Errors
    /// It cannot be made or written.
    pub fn issue(&self, scratch: &Scratch, name: &str, leaf: Leaf<'_>) -> Result<TlsFiles> {
        let years = leaf.expired.then_some((2020, 2021));
        self.issue_for(scratch, name, leaf.names, years)
    }

    /// [`Authority::issue`], good for localhost but not before the year 3000.
    ///
    /// # Errors
    /// As [`Authority::issue`].
    pub fn issue_too_early(&self, scratch: &Scratch, name: &str) -> Result<TlsFiles> {
        self.issue_for(scratch, name, Leaf::good().names, Some((3000, 3001)))
    }

    fn issue_for(&self, scratch: &Scratch, name: &str, names: &[&str], years: Option<(i32, i32)>) -> Result<TlsFiles> {
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let mut params = CertificateParams::new(names)?;
        if let Some((first, last)) = years {
            (params.not_before, params.not_after) = (date_time_ymd(first, 1, 1), date_time_ymd(last, 1, 1));
        }
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &*self.0)?;
        Ok(TlsFiles {
            cert: scratch.write(&format!("{name}.pem"), certificate.pem())?,
            key: scratch.write(&format!("{name}.key"), key.serialize_pem())?,
            client_ca: None,
        })
    }
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Authority")
    }
}

impl Leaf<'static> {
    /// For `localhost` and `127.0.0.1`, valid.
    #[must_use]
    pub fn good() -> Self {
        Self {
            names: &["localhost", "127.0.0.1"],
            expired: false,
        }
    }
}
