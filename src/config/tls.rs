//! `relays[].tls`: roots, client certificate and verified name.

use super::errors::shown;
use super::fields::{Field, Fields};
use super::secret_source::file;
use super::{ClientCertificate, RelayUrl, Tls};

/// Reads `tls`; `url` is `None` when it was itself a mistake.
pub(super) fn read(relay: &Fields<'_>, url: Option<&RelayUrl>) -> Option<Tls> {
    relay.or("tls", Tls::default(), |field| {
        if url.is_some_and(|url| !url.tls) {
            return field.wrong("TLS settings for a ws:// URL", "use wss://, or remove tls");
        }
        let fields = field.object(&["ca_file", "cert_file", "key_file", "server_name"])?;
        let ca_file = fields.or("ca_file", None, |field| file(&field).map(Some));
        let server_name = fields.or("server_name", None, |field| server_name(&field).map(Some));
        let client = client(&fields);
        Some(Tls {
            ca_file: ca_file?,
            client: client?,
            server_name: server_name?,
        })
    })
}

fn client(fields: &Fields<'_>) -> Option<Option<ClientCertificate>> {
    match (fields.get("cert_file"), fields.get("key_file")) {
        (None, None) => Some(None),
        (Some(cert), Some(key)) => {
            let (cert_file, key_file) = (file(&cert), file(&key));
            Some(Some(ClientCertificate {
                cert_file: cert_file?,
                key_file: key_file?,
            }))
        }
        (Some(cert), None) => cert.wrong("without key_file", "both cert_file and key_file, or neither"),
        (None, Some(key)) => key.wrong("without cert_file", "both cert_file and key_file, or neither"),
    }
}

fn server_name(field: &Field<'_>) -> Option<String> {
    let allowed = "a DNS name or an IP address";
    let name = field.text(allowed)?;
    match rustls_pki_types::ServerName::try_from(name) {
        Ok(_) => Some(name.to_ascii_lowercase()),
        Err(_) => field.wrong(format!("{} is neither", shown(name)), allowed),
    }
}
