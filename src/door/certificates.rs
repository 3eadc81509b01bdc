//! The certificates of a server: read from files, chosen by the name that a client asks for,
//! replaced while connections go on.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
    time::{SystemTime, UNIX_EPOCH},
};

use rustls::{
    client::verify_server_name,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
    server::{ClientHello, ParsedCertificate, ResolvesServerCert},
    sign::CertifiedKey,
};

use super::{
    config::provider,
    validity::{day, not_after},
};

/// Where a certificate and its key are, in PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Files {
    /// The certificate, and behind it those that lead to the authority.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// Why certificates cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// A file cannot be read.
    #[error("cannot read {path}: {error}; give a file in PEM that the server may read", path = path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// A file has not what it should have.
    #[error("{path} {problem}", path = path.display())]
    Wrong {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, and what would be right.
        problem: String,
    },
    /// A key is another certificate's.
    #[error(
        "the key in {key} is not that of the certificate in {certificate}; give them in the same \
         order, the server's own certificate first in its file",
        key = key.display(),
        certificate = certificate.display()
    )]
    Mismatch {
        /// The file with the certificate.
        certificate: PathBuf,
        /// The file with the key.
        key: PathBuf,
    },
}

/// The certificates that a server shows.
#[derive(Debug)]
pub struct Certificates {
    files: Vec<Files>,
    shown: RwLock<Arc<[Arc<CertifiedKey>]>>,
}

impl Certificates {
    /// Reads them all. There is one at least; it is shown to clients that ask for none of the others.
    pub fn read(files: Vec<Files>) -> Result<Certificates, CertificateError> {
        assert!(!files.is_empty(), "TLS without a certificate");
        let shown = RwLock::new(read_all(&files)?);
        Ok(Certificates { files, shown })
    }

    /// Reads the files again: handshakes show the new certificates from now on, and connections stay
    /// as they are. Where one of the files is wrong, all stay. Says how many there are.
    pub fn reload(&self) -> Result<usize, CertificateError> {
        let fresh = read_all(&self.files)?;
        let count = fresh.len();
        *self.shown.write().unwrap_or_else(PoisonError::into_inner) = fresh;
        Ok(count)
    }

    /// The files that they come from.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        self.files.iter().flat_map(|files| [&*files.certificate, &*files.key])
    }
}

impl ResolvesServerCert for Certificates {
    /// The first whose names have the one that is asked for and whose key the client can use, else
    /// the first that it can use.
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let shown = Arc::clone(&self.shown.read().unwrap_or_else(PoisonError::into_inner));
        let name = hello.server_name().and_then(|name| ServerName::try_from(name).ok());
        let is_usable =
            |it: &&Arc<CertifiedKey>| it.key.choose_scheme(hello.signature_schemes()).is_some();
        let is_named = |it: &&Arc<CertifiedKey>| {
            let parsed =
                it.end_entity_cert().ok().and_then(|it| ParsedCertificate::try_from(it).ok());
            let fits = |(parsed, name)| verify_server_name(parsed, name).is_ok();
            parsed.as_ref().zip(name.as_ref()).is_some_and(fits)
        };
        let mut usable = shown.iter().filter(is_usable);
        let first = usable.clone().next();
        usable.find(is_named).or(first).cloned()
    }
}

fn read_all(files: &[Files]) -> Result<Arc<[Arc<CertifiedKey>]>, CertificateError> {
    files.iter().map(|files| read(files).map(Arc::new)).collect()
}

fn read(files: &Files) -> Result<CertifiedKey, CertificateError> {
    let Files { certificate, key } = files;
    let chain = certificates(certificate)?;
    tell_expiry(certificate, &chain[0]);
    let private = private_key(key)?;
    let private = provider().key_provider.load_private_key(private).map_err(|_| {
        wrong(
            key,
            "has a key of an unknown kind; give an RSA key, or one of P-256, P-384 or Ed25519",
        )
    })?;
    let certified = CertifiedKey::new(chain, private);
    match certified.keys_match() {
        Ok(()) => Ok(certified),
        Err(rustls::Error::InconsistentKeys(_)) => {
            Err(CertificateError::Mismatch { certificate: certificate.clone(), key: key.clone() })
        }
        Err(error) => {
            Err(wrong(certificate, &format!("has no certificate that can be used: {error}")))
        }
    }
}

/// The certificates in a file: one at least.
pub(super) fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, CertificateError> {
    let text = contents(path)?;
    let read = CertificateDer::pem_slice_iter(&text).collect::<Result<Vec<_>, _>>();
    match read {
        Ok(chain) if !chain.is_empty() => Ok(chain),
        Ok(_) => Err(wrong(
            path,
            "has no certificate; give one in PEM, which begins with -----BEGIN CERTIFICATE-----",
        )),
        Err(error) => Err(wrong(path, &format!("is not PEM: {error}"))),
    }
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, CertificateError> {
    let text = contents(path)?;
    let is_encrypted = text.windows(ENCRYPTED.len()).any(|window| window == ENCRYPTED);
    PrivateKeyDer::from_pem_slice(&text).map_err(|_| match is_encrypted {
        true => wrong(path, "has a key that is encrypted; decrypt it (openssl pkey -in … -out …)"),
        false => wrong(
            path,
            "has no private key; give one in PEM, which begins with -----BEGIN PRIVATE KEY-----",
        ),
    })
}

fn contents(path: &Path) -> Result<Vec<u8>, CertificateError> {
    fs::read(path).map_err(|error| CertificateError::Unreadable { path: path.to_owned(), error })
}

fn wrong(path: &Path, problem: &str) -> CertificateError {
    CertificateError::Wrong { path: path.to_owned(), problem: problem.to_owned() }
}

/// Warns of a certificate that clients will refuse, now or soon.
fn tell_expiry(path: &Path, certificate: &CertificateDer<'_>) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    match not_after(certificate) {
        Some(last) if last < now => {
            tracing::warn!("the certificate in {} expired on {}", path.display(), day(last));
        }
        Some(last) if last < now + SOON => {
            tracing::warn!("the certificate in {} expires on {}", path.display(), day(last));
        }
        _ => {}
    }
}

/// Seconds before its end from which on a certificate is warned of.
const SOON: u64 = 7 * 86_400;
const ENCRYPTED: &[u8] = b"ENCRYPTED";
