//! TLS of subscribers: whom they trust, and why a handshake failed.
//!
//! Every handshake is a whole one, as that of a subscriber who comes for the first time: tickets
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
    crypto::ring::default_provider,
    pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject},
};
use serde::{Deserialize, Serialize};
use stentor::door::{Side, client_config};

/// How to speak TLS to a server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tls {
    /// The name or the address that its certificate must have.
    pub server_name: String,
    /// The authorities that are trusted, in PEM.
    pub authorities: String,
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

impl Tls {
    /// Trusts the authorities in this file, for a server of this name.
    pub fn read(server_name: &str, authorities: &Path) -> Result<Tls, Flaw> {
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
        let tls = Tls { server_name: server_name.to_owned(), authorities: text };
        tls.client().map_err(|why| flaw(format!("is of no use: {why}")))?;
        Ok(tls)
    }

    /// The client's side of it.
    pub fn client(&self) -> Result<Client, String> {
        let name = ServerName::try_from(self.server_name.clone());
        let name = name.map_err(|_| format!("'{}' is no name of a server", self.server_name))?;
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(self.authorities.as_bytes()) {
            let added = certificate.map(|it| roots.add(it)).map_err(|why| why.to_string())?;
            added.map_err(|why| why.to_string())?;
        }
        if roots.is_empty() {
            return Err("it has no certificate".to_owned());
        }
        let refusal = Refusal::default();
        let roots = Arc::new(roots);
        let builder = WebPkiServerVerifier::builder_with_provider(
            Arc::clone(&roots),
            Arc::new(default_provider()),
        );
        let verifier = builder.build().map_err(|why| why.to_string())?;
        let witness = Witness { verifier, refusal: Arc::clone(&refusal) };
        let mut config =
            client_config(Arc::unwrap_or_clone(roots)).map_err(|why| why.to_string())?;
        config.dangerous().set_certificate_verifier(Arc::new(witness));
        config.resumption = Resumption::disabled();
        Ok(Client { side: Side::Client(Arc::new(config), name), refusal })
    }
}

impl Client {
    /// Why the handshake failed that has just failed.
    pub fn why(&self) -> String {
        let refusal = self.refusal.lock().unwrap_or_else(PoisonError::into_inner).take();
        format!("tls: {}", refusal.as_deref().unwrap_or(NO_HANDSHAKE))
    }
}

/// Verifies certificates, and keeps why one was refused.
#[derive(Debug)]
struct Witness {
    verifier: Arc<WebPkiServerVerifier>,
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
        let verified = self.verifier.verify_server_cert(certificate, between, name, ocsp, now);
        if let Err(why) = &verified {
            let remedy = match why {
                Error::InvalidCertificate(
                    CertificateError::UnknownIssuer | CertificateError::BadSignature,
                ) => WRONG_AUTHORITY,
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
        self.verifier.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verifier.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.verifier.supported_verify_schemes()
    }
}

/// A file of authorities is no longer: it fits one line to an agent. A system's has some 220 kB.
pub const AUTHORITIES_BYTES_MAX: usize = 512 << 10;

const WRONG_AUTHORITY: &str = "; --ca must name the certificate of the server's authority";
const NO_HANDSHAKE: &str = "the handshake broke off; the target must be a port that speaks TLS";
