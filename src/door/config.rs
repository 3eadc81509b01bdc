//! The rules of TLS that both sides keep to.

use std::{path::Path, sync::Arc};

use rustls::{
    ClientConfig, DEFAULT_VERSIONS, Error, RootCertStore, ServerConfig,
    crypto::{
        CryptoProvider,
        ring::{Ticketer, default_provider},
    },
    server::{NoServerSessionStorage, WebPkiClientVerifier, danger::ClientCertVerifier},
};

use super::{CertificateError, Certificates, certificates::certificates};

/// TLS 1.3 and 1.2 for HTTP/1.1 with these certificates, and tickets by which clients come back
/// cheaply; the server remembers none of them. With a verifier clients need certificates, too.
pub fn server_config(
    certificates: Arc<Certificates>,
    clients: Option<Arc<dyn ClientCertVerifier>>,
) -> Result<ServerConfig, Error> {
    let config =
        ServerConfig::builder_with_provider(provider()).with_protocol_versions(DEFAULT_VERSIONS)?;
    let config = match clients {
        Some(clients) => config.with_client_cert_verifier(clients),
        None => config.with_no_client_auth(),
    };
    let mut config = config.with_cert_resolver(certificates);
    config.alpn_protocols = vec![HTTP.to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.ticketer = Ticketer::new()?;
    Ok(config)
}

/// Wants certificates of clients, by one of the authorities in this file.
pub fn client_verifier(
    authorities: &Path,
) -> Result<Arc<dyn ClientCertVerifier>, CertificateError> {
    let refused =
        |problem: String| CertificateError::Wrong { path: authorities.to_owned(), problem };
    let mut roots = RootCertStore::empty();
    for certificate in certificates(authorities)? {
        let added = roots.add(certificate);
        added.map_err(|error| refused(format!("has what is no certificate: {error}")))?;
    }
    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider())
        .build()
        .map_err(|error| refused(format!("has no authority: {error}")))
}

/// The side of a client that trusts these authorities.
pub fn client_config(roots: RootCertStore) -> Result<ClientConfig, Error> {
    let config =
        ClientConfig::builder_with_provider(provider()).with_protocol_versions(DEFAULT_VERSIONS)?;
    let mut config = config.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![HTTP.to_vec()];
    Ok(config)
}

/// The cryptography that is used everywhere.
pub(super) fn provider() -> Arc<CryptoProvider> {
    Arc::new(default_provider())
}

const HTTP: &[u8] = b"http/1.1";
