//! Spans of publications: the thread that sends them, where a collector is named.

use std::{io, sync::Arc, thread};

use crate::{
    config::Config,
    spans::{Spans, Tracer},
};

/// What follows publications, if they are to be followed. The thread ends with it.
pub(super) fn tracer(config: &Config) -> io::Result<Option<Arc<Tracer>>> {
    let Some(endpoint) = config.otlp_endpoint.0.clone() else { return Ok(None) };
    let (headers, one_in) = (config.otlp_header.0.clone(), config.trace_sample);
    let (tracer, exporter) = Tracer::new(Spans { endpoint, headers, one_in });
    thread::Builder::new().name("spans".into()).spawn(move || exporter.run())?;
    Ok(Some(Arc::new(tracer)))
}
