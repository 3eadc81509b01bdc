//! Whom the commands trust that speak TLS: the authorities of a file, else the machine's.

use std::{
    env, fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use clap::Args;
use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use ureq::tls::{Certificate, ClientCert, PrivateKey, RootCerts, TlsConfig};

use super::{endpoint::Endpoint, failure::Failure};

/// The flag of every command that may speak TLS.
#[derive(Args, Clone, Debug, Default)]
pub struct Authority {
    /// Authorities in PEM to trust where the URL is https or wss. [default: the machine's] [env:
    /// STENTOR_CA]
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Our certificate in PEM, where the server asks for one, and behind it those that lead to the
    /// authority. [env: STENTOR_CLIENT_CERT]
    #[arg(long, value_name = "FILE")]
    client_cert: Option<PathBuf>,
    /// The private key of --client-cert. [env: STENTOR_CLIENT_KEY]
    #[arg(long, value_name = "FILE")]
    client_key: Option<PathBuf>,
}

/// What we show of ourselves.
#[derive(Debug)]
struct Identity {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    /// Both, for HTTP.
    both: ClientCert,
}

/// Authorities that are trusted, none where nothing is encrypted, and what we show to servers.
#[derive(Clone, Debug, Default)]
pub struct Trust {
    authorities: Vec<CertificateDer<'static>>,
    identity: Option<Arc<Identity>>,
}

impl Trust {
    /// That of the files which the flags name, else the variables, else the machine's authorities.
    pub fn of(endpoint: &Endpoint, authority: &Authority) -> Result<Trust, Failure> {
        if !endpoint.is_tls() {
            return Ok(Trust::default());
        }
        let authorities = match named(&authority.ca, "STENTOR_CA") {
            Some(file) => certificates("ca", &file)?,
            None => rustls_native_certs::load_native_certs().certs,
        };
        let certificate = named(&authority.client_cert, "STENTOR_CLIENT_CERT");
        let key = named(&authority.client_key, "STENTOR_CLIENT_KEY");
        let identity = match (certificate, key) {
            (Some(certificate), Some(key)) => Some(Arc::new(Identity::read(&certificate, &key)?)),
            (None, None) => None,
            (Some(_), None) => return Err(lacking("client-cert", "key", "--client-key")),
            (None, Some(_)) => return Err(lacking("client-key", "certificate", "--client-cert")),
        };
        Ok(Trust { authorities, identity })
    }

    /// The same for HTTP.
    pub fn for_http(&self) -> TlsConfig {
        let shown = self.identity.as_ref().map(|identity| identity.both.clone());
        let roots = RootCerts::from(for_http(&self.authorities));
        let provider = Arc::new(ring::default_provider());
        let config = TlsConfig::builder().root_certs(roots).client_cert(shown);
        config.unversioned_rustls_crypto_provider(provider).build()
    }

    /// The same for a connection of our own.
    pub fn for_stream(&self) -> Result<Arc<ClientConfig>, rustls::Error> {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(self.authorities.iter().cloned());
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots);
        let config = match self.identity.as_deref() {
            Some(Identity { chain, key, .. }) => {
                config.with_client_auth_cert(chain.clone(), key.clone_key())?
            }
            None => config.with_no_client_auth(),
        };
        Ok(Arc::new(config))
    }
}

impl Identity {
    fn read(certificate: &Path, key: &Path) -> Result<Identity, Failure> {
        let refused = |why: String| wrong("client-key", key, &why);
        let chain = certificates("client-cert", certificate)?;
        let pem = fs::read(key).map_err(|why| refused(why.to_string()))?;
        let ours = PrivateKey::from_pem(&pem).map_err(|why| refused(why.to_string()))?;
        let both = ClientCert::new_with_certs(&for_http(&chain), ours);
        let key = PrivateKeyDer::from_pem_slice(&pem).map_err(|why| refused(why.to_string()))?;
        Ok(Identity { chain, key, both })
    }
}

fn for_http(certificates: &[CertificateDer<'static>]) -> Vec<Certificate<'static>> {
    certificates.iter().map(|it| Certificate::from_der(it.as_ref()).to_owned()).collect()
}

/// The file that the flag names, else the variable.
fn named(flag: &Option<PathBuf>, variable: &str) -> Option<PathBuf> {
    flag.clone().or_else(|| env::var_os(variable).map(PathBuf::from))
}

fn certificates(name: &str, file: &Path) -> Result<Vec<CertificateDer<'static>>, Failure> {
    let found = CertificateDer::pem_file_iter(file).and_then(Iterator::collect);
    let found: Vec<_> = found.map_err(|why| wrong(name, file, &why.to_string()))?;
    match found.is_empty() {
        true => Err(wrong(name, file, "there is no certificate in it; name a file in PEM")),
        false => Ok(found),
    }
}

fn wrong(name: &str, file: &Path, why: &str) -> Failure {
    Failure::usage(format!("{name}: {}: {why}", file.display()))
}

fn lacking(name: &str, what: &str, flag: &str) -> Failure {
    Failure::usage(format!("{name}: there is no {what} for it; name its file with {flag}"))
}

/// What to do about a failure of TLS, where that is known.
pub fn advice(failure: &str) -> Option<&'static str> {
    const ALERTS: &[&str] = &["CertificateRequired", "UnknownCA", "BadCertificate", "DecryptError"];
    let is_any = |words: &[&str]| words.iter().any(|word| failure.contains(word));
    match () {
        () if is_any(&["InvalidContentType"]) => {
            Some("no TLS is spoken there; write http:// or ws:// in the URL")
        }
        () if is_any(ALERTS) => Some(
            "the server wants a certificate by an authority of its own; name yours with \
             --client-cert FILE, and its key with --client-key FILE",
        ),
        () if is_any(&["certificate"]) => {
            Some("name the authority that has signed the server's certificate with --ca FILE")
        }
        () => None,
    }
}
