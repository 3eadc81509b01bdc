//! TLS as the settings want it.

use std::{path::Path, sync::Arc};

use rustls::ServerConfig;

use super::{ServerError, listen::Kind, listen::Listening};
use crate::{
    config::Config,
    door::{Certificates, Files, Side, Tls, server_config},
    io::Listener,
    shard::Setup,
    watch::Files as WatchedFiles,
};

/// What all shards share of TLS.
pub(super) struct Secure {
    certificates: Arc<Certificates>,
    config: Arc<ServerConfig>,
    listeners: Vec<Listener>,
}

impl Secure {
    /// Reads the certificates, where any of the addresses needs them.
    pub fn new(config: &Config, listening: &[Listening]) -> Result<Option<Secure>, ServerError> {
        let listeners: Vec<Listener> = (0..=u8::MAX)
            .zip(listening)
            .filter(|(_, it)| it.kind == Kind::Tls)
            .map(|(number, _)| Listener(number))
            .collect();
        if listeners.is_empty() {
            return Ok(None);
        }
        let (certificates, keys) = (config.tls_cert.0.len(), config.tls_key.0.len());
        if certificates != keys {
            return Err(ServerError::Keys { certificates, keys });
        }
        let pairs = config.tls_cert.0.iter().zip(&config.tls_key.0);
        let files = pairs
            .map(|(certificate, key)| Files { certificate: certificate.clone(), key: key.clone() });
        let certificates = Arc::new(Certificates::read(files.collect())?);
        let config = Arc::new(server_config(Arc::clone(&certificates), None)?);
        Ok(Some(Secure { certificates, config, listeners }))
    }

    /// Has the certificates read again when their files change.
    pub fn watch_by(&self, files: &WatchedFiles) {
        let paths = self.certificates.files().map(Path::to_path_buf).collect();
        let certificates = Arc::clone(&self.certificates);
        let read = move || match certificates.reload() {
            Ok(count) => Ok(format!("{count} certificates")),
            Err(error) => Err(error.to_string()),
        };
        files.watch("tls-cert", paths, Box::new(read));
    }

    /// What a shard's door needs.
    pub fn of_shard(&self, setup: &Setup) -> Tls {
        let counters = &setup.counters[usize::from(setup.id.0)].tls;
        Tls {
            side: Side::Server(Arc::clone(&self.config)),
            listeners: self.listeners.clone(),
            counters: Arc::clone(counters),
        }
    }
}
