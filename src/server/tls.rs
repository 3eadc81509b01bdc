//! TLS as the settings want it.

use std::{path::Path, sync::Arc};

use rustls::ServerConfig;

use super::{
    ServerError,
    listen::{Kind, Listeners, Listening},
};
use crate::{
    config::{Config, Paths},
    door::{Certificates, Files, Side, Tls, client_verifier, server_config},
    io::Listener,
    shard::Setup,
    watch::Files as WatchedFiles,
};

/// What all shards share of TLS.
pub(super) struct Secure {
    certificates: Arc<Certificates>,
    config: Arc<ServerConfig>,
}

impl Secure {
    /// Reads the certificates, where any of the addresses needs them.
    pub fn new(config: &Config, listening: &[Listening]) -> Result<Option<Secure>, ServerError> {
        if listening.iter().all(|it| it.kind != Kind::Tls) {
            return Ok(None);
        }
        let certificates = read(("tls", &config.tls_cert, &config.tls_key))?;
        let config = Arc::new(server_config(Arc::clone(&certificates), None)?);
        Ok(Some(Secure { certificates, config }))
    }

    /// Has the certificates read again when their files change.
    pub fn watch_by(&self, files: &WatchedFiles) {
        watch("tls-cert", &self.certificates, files);
    }

    /// What a shard's door needs, where it has these listeners.
    pub fn of_shard(&self, setup: &Setup, listeners: &Listeners) -> Tls {
        let listeners = (0..=u8::MAX).zip(listeners).filter(|(_, (kind, _))| *kind == Kind::Tls);
        let counters = &setup.counters[usize::from(setup.id.0)].tls;
        Tls {
            side: Side::Server(Arc::clone(&self.config)),
            listeners: listeners.map(|(number, _)| Listener(number)).collect(),
            counters: Arc::clone(counters),
        }
    }
}

/// TLS of the control listener, where it has a certificate.
pub(super) fn control(
    config: &Config,
    files: &WatchedFiles,
) -> Result<Option<Arc<ServerConfig>>, ServerError> {
    if config.control_tls_cert.0.is_empty() {
        return Ok(None);
    }
    let certificates = read(("control-tls", &config.control_tls_cert, &config.control_tls_key))?;
    watch("control-tls-cert", &certificates, files);
    let clients = config.control_client_ca.0.as_deref().map(client_verifier).transpose()?;
    Ok(Some(Arc::new(server_config(certificates, clients)?)))
}

fn read(
    (name, certificates, keys): (&'static str, &Paths, &Paths),
) -> Result<Arc<Certificates>, ServerError> {
    let Paths(certificates) = certificates;
    let Paths(keys) = keys;
    if certificates.len() != keys.len() {
        return Err(ServerError::Keys { name, certificates: certificates.len(), keys: keys.len() });
    }
    let pairs = certificates.iter().cloned().zip(keys.iter().cloned());
    let files = pairs.map(|(certificate, key)| Files { certificate, key });
    Ok(Arc::new(Certificates::read(files.collect())?))
}

/// Has certificates read again when their files change.
fn watch(name: &'static str, certificates: &Arc<Certificates>, files: &WatchedFiles) {
    let paths = certificates.files().map(Path::to_path_buf).collect();
    let certificates = Arc::clone(certificates);
    let read = move || match certificates.reload() {
        Ok(1) => Ok("1 certificate".to_owned()),
        Ok(count) => Ok(format!("{count} certificates")),
        Err(error) => Err(error.to_string()),
    };
    files.watch(name, paths, Box::new(read));
}
