//! A certificate for a bench, and both sides of TLS with it.

use std::{fs, io, net::SocketAddr, path::PathBuf, sync::Arc};

use rustls::{ClientConfig, RootCertStore, client::Resumption, pki_types::CertificateDer};

/// A certificate that vouches for itself, in files that go at the end.
pub struct Identity {
    folder: PathBuf,
    certificate: CertificateDer<'static>,
}

impl Identity {
    /// Makes one.
    pub fn new() -> io::Result<Identity> {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]);
        let made = made.map_err(io::Error::other)?;
        let folder = std::env::temp_dir().join(format!("stentor-bench-tls-{}", std::process::id()));
        fs::create_dir_all(&folder)?;
        fs::write(folder.join("edge.pem"), made.cert.pem())?;
        fs::write(folder.join("edge.key"), made.signing_key.serialize_pem())?;
        Ok(Identity { folder, certificate: made.cert.der().clone() })
    }

    /// The settings by which a server speaks TLS at this address.
    pub fn settings(&self, secure: SocketAddr) -> Vec<String> {
        let [certificate, key] =
            ["edge.pem", "edge.key"].map(|file| self.folder.join(file).display().to_string());
        let secure = secure.to_string();
        let pairs = [("--listen-tls", &secure), ("--tls-cert", &certificate), ("--tls-key", &key)];
        pairs.iter().flat_map(|(flag, value)| [flag.to_string(), value.to_string()]).collect()
    }

    /// A client that trusts it, by TLS 1.3.
    pub fn client(&self, resumes: bool) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone()).expect("it was made for this");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider);
        let config = config.with_protocol_versions(&[&rustls::version::TLS13]).expect("it has it");
        let mut config = config.with_root_certificates(roots).with_no_client_auth();
        if !resumes {
            config.resumption = Resumption::disabled();
        }
        Arc::new(config)
    }
}

impl Drop for Identity {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}
