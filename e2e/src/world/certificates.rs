//! Certificates made for one test.

use std::path::PathBuf;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};

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
}

impl Certificates {
    /// Makes them in `scratch`.
    ///
    /// # Errors
    /// They cannot be made or written.
    pub fn make(scratch: &Scratch) -> Result<Self> {
        let mut authority = CertificateParams::new(Vec::new())?;
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        authority
            .distinguished_name
            .push(DnType::CommonName, "spectral-bridge test authority");
        let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate()?)?;
        let server_key = KeyPair::generate()?;
        let server = CertificateParams::new(["localhost".to_owned(), "127.0.0.1".to_owned()])?;
        let server = server.signed_by(&server_key, &authority)?;
        Ok(Self {
            ca: scratch.write("ca.pem", authority.pem())?,
            server: TlsFiles {
                cert: scratch.write("server.pem", server.pem())?,
                key: scratch.write("server.key", server_key.serialize_pem())?,
            },
        })
    }
}
