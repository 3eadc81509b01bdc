//! Whom the commands trust that speak TLS: the authorities of a file, else the machine's.

use std::{env, path::PathBuf, sync::Arc};

use clap::Args;
use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, pem::PemObject},
};
use ureq::tls::{Certificate, RootCerts, TlsConfig};

use super::{endpoint::Endpoint, failure::Failure};

/// The flag of every command that may speak TLS.
#[derive(Args, Clone, Debug, Default)]
pub struct Authority {
    /// Authorities in PEM to trust where the URL is https or wss. [default: the machine's] [env:
    /// STENTOR_CA]
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
}

/// Authorities that are trusted; none where nothing is encrypted.
#[derive(Clone, Debug, Default)]
pub struct Trust {
    authorities: Vec<CertificateDer<'static>>,
}

impl Trust {
    /// Those of the file that the flag names, else the variable, else the machine's.
    pub fn of(endpoint: &Endpoint, authority: &Authority) -> Result<Trust, Failure> {
        if !endpoint.is_tls() {
            return Ok(Trust::default());
        }
        let from_environment = || env::var_os(VARIABLE).map(PathBuf::from);
        let Some(file) = authority.ca.clone().or_else(from_environment) else {
            let authorities = rustls_native_certs::load_native_certs().certs;
            return Ok(Trust { authorities });
        };
        let name = file.display();
        let wrong = |why: String| Failure::usage(format!("ca: {name}: {why}"));
        let found = CertificateDer::pem_file_iter(&file).and_then(Iterator::collect);
        let authorities: Vec<_> = found.map_err(|why| wrong(why.to_string()))?;
        match authorities.is_empty() {
            true => Err(wrong("there is no certificate in it; name a file in PEM".to_owned())),
            false => Ok(Trust { authorities }),
        }
    }

    /// The same for HTTP.
    pub fn for_http(&self) -> TlsConfig {
        let certificates =
            self.authorities.iter().map(|it| Certificate::from_der(it.as_ref()).to_owned());
        let roots = RootCerts::from(certificates.collect::<Vec<_>>());
        let provider = Arc::new(ring::default_provider());
        TlsConfig::builder().root_certs(roots).unversioned_rustls_crypto_provider(provider).build()
    }

    /// The same for a connection of our own.
    pub fn for_stream(&self) -> Result<Arc<ClientConfig>, rustls::Error> {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(self.authorities.iter().cloned());
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Arc::new(config))
    }
}

/// What to do about a certificate that is not trusted.
pub const ADVICE: &str =
    "name the authority that has signed the server's certificate with --ca FILE";

const VARIABLE: &str = "STENTOR_CA";
