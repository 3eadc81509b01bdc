//! TLS of subscribers and publishers: whom they trust, and why a subscriber's handshake failed.
//!
//! Every handshake of a subscriber is a whole one, as that of one who comes for the first time: tickets
//! would let a thread's subscribers come back with each other's sessions.
#![forbid(unsafe_code)]

use std::{
    fs,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use rustls::{
    CertificateError, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
    client::{
        Resumption, WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{
        CryptoProvider, ring::default_provider, verify_tls12_signature, verify_tls13_signature,
    },
    pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject},
};
use rustls_native_certs::{CertificateResult, load_native_certs};
use serde::{Deserialize, Serialize};
use stentor::door::{Side, client_config};
use ureq::tls::{Certificate, RootCerts, TlsConfig};

/// How to speak TLS to a server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tls {
    /// The name or the address that its certificate must have.
    pub server_name: String,
    /// Whom is trusted to say so.
    pub trust: Trust,
}

/// Who may say that a server has a name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Trust {
    /// These authorities, in PEM.
    Authorities(String),
    /// Those that the machine trusts on which TLS is spoken.
    Machine,
    /// Anybody: no certificate is verified.
    Anybody,
}

/// What is wrong with a file of authorities, and what would be right.
#[derive(Debug)]
pub struct Flaw {
    /// What is wrong.
    pub problem: String,
    /// What would be right.
    pub right: &'static str,
}

/// The client's side, and who knows why a certificate was refused.
pub struct Client {
    /// The side for a door.
    pub side: Side,
    refusal: Refusal,
}

/// Why the last certificate was refused.
type Refusal = Arc<Mutex<Option<String>>>;

impl Trust {
    /// Trusts the authorities in this file.
    pub fn read(authorities: &Path) -> Result<Trust, Flaw> {
        let right = "write a file that has the certificate of the server's authority, in PEM";
        let flaw = |problem: String| Flaw { problem, right };
        let text = fs::read(authorities).map_err(|why| flaw(format!("cannot be read: {why}")))?;
        if text.len() > AUTHORITIES_BYTES_MAX {
            return Err(flaw(format!(
                "has {} bytes, more than {AUTHORITIES_BYTES_MAX}",
                text.len()
            )));
        }
        let text = String::from_utf8(text).map_err(|_| flaw("is not PEM".to_owned()))?;
        let trust = Trust::Authorities(text);
        trust.roots().map_err(|why| flaw(format!("is of no use: {why}")))?;
        Ok(trust)
    }

    /// Trusts whom this machine trusts, if that is anybody.
    pub fn machine() -> Result<Trust, Flaw> {
        let right = "add --ca FILE with the certificate of the server's authority, in PEM";
        match Trust::Machine.roots() {
            Ok(_) => Ok(Trust::Machine),
            Err(problem) => Err(Flaw { problem, right }),
        }
    }

    /// The certificates of the authorities: at least one, unless anybody is trusted.
    fn certificates(&self) -> Result<Vec<CertificateDer<'static>>, String> {
        match self {
            Trust::Anybody => Ok(Vec::new()),
            Trust::Authorities(text) => {
                let found = CertificateDer::pem_slice_iter(text.as_bytes());
                let found = found.collect::<Result<Vec<_>, _>>().map_err(|why| why.to_string())?;
                if found.is_empty() { Err("it has no certificate".to_owned()) } else { Ok(found) }
            }
            Trust::Machine => {
                let CertificateResult { certs, errors, .. } = load_native_certs();
                let why = errors.first().map_or(String::new(), |why| format!(" ({why})"));
                match certs.is_empty() {
                    true => Err(format!("no authority is trusted by this machine{why}")),
                    false => Ok(certs),
                }
            }
        }
    }

    fn roots(&self) -> Result<RootCertStore, String> {
        let mut roots = RootCertStore::empty();
        match self {
            // Among those of a machine there often is one that nobody can read any more.
            Trust::Machine => drop(roots.add_parsable_certificates(self.certificates()?)),
            _ => {
                for certificate in self.certificates()? {
                    roots.add(certificate).map_err(|why| why.to_string())?;
                }
            }
        }
        Ok(roots)
    }
}

impl Tls {
    /// A subscriber's side of it.
    pub fn client(&self) -> Result<Client, String> {
        let name = ServerName::try_from(self.server_name.clone());
        let name = name.map_err(|_| format!("'{}' is no name of a server", self.server_name))?;
        let roots = Arc::new(self.trust.roots()?);
        let provider = Arc::new(default_provider());
        let verifier = match self.trust {
            Trust::Anybody => None,
            _ => {
                let (roots, provider) = (Arc::clone(&roots), Arc::clone(&provider));
                let builder = WebPkiServerVerifier::builder_with_provider(roots, provider);
                Some(builder.build().map_err(|why| why.to_string())?)
            }
        };
        let refusal = Refusal::default();
        let witness = Witness { verifier, provider, refusal: Arc::clone(&refusal) };
        let mut config =
            client_config(Arc::unwrap_or_clone(roots)).map_err(|why| why.to_string())?;
        config.dangerous().set_certificate_verifier(Arc::new(witness));
        config.resumption = Resumption::disabled();
        Ok(Client { side: Side::Client(Arc::new(config), name), refusal })
    }

    /// A publisher's side of it.
    pub fn publisher(&self) -> Result<TlsConfig, String> {
        let certificates = self.trust.certificates()?;
        let certificates =
            certificates.iter().map(|it| Certificate::from_der(it.as_ref()).to_owned());
        Ok(TlsConfig::builder()
            .root_certs(RootCerts::from(certificates.collect::<Vec<_>>()))
            .disable_verification(self.trust == Trust::Anybody)
            .unversioned_rustls_crypto_provider(Arc::new(default_provider()))
            .build())
    }
}

impl Client {
    /// Why the handshake failed that has just failed.
    pub fn why(&self) -> String {
        let refusal = self.refusal.lock().unwrap_or_else(PoisonError::into_inner).take();
        format!("tls: {}", refusal.as_deref().unwrap_or(NO_HANDSHAKE))
    }
}

/// Verifies certificates unless anybody is trusted, and keeps why one was refused.
#[derive(Debug)]
struct Witness {
    verifier: Option<Arc<WebPkiServerVerifier>>,
    provider: Arc<CryptoProvider>,
    refusal: Refusal,
}

impl ServerCertVerifier for Witness {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        between: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let Some(verifier) = &self.verifier else { return Ok(ServerCertVerified::assertion()) };
        let verified = verifier.verify_server_cert(certificate, between, name, ocsp, now);
        if let Err(why) = &verified {
            let remedy = match why {
                Error::InvalidCertificate(
                    CertificateError::UnknownIssuer | CertificateError::BadSignature,
                ) => WRONG_AUTHORITY,
                Error::InvalidCertificate(
                    CertificateError::NotValidForName
                    | CertificateError::NotValidForNameContext { .. },
                ) => WRONG_NAME,
                _ => "",
            };
            let mut refusal = self.refusal.lock().unwrap_or_else(PoisonError::into_inner);
            *refusal = Some(format!("{why}{remedy}"));
        }
        verified
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// A file of authorities is no longer: it fits a line to an agent, once for each transport. A system's
/// has some 220 kB.
pub const AUTHORITIES_BYTES_MAX: usize = 512 << 10;

const WRONG_AUTHORITY: &str = "; --ca must name the certificate of the server's authority";
const WRONG_NAME: &str = "; --server-name says which name is asked for";
const NO_HANDSHAKE: &str = "the handshake broke off; the target must be a port that speaks TLS";
