//! Secrets among the settings.

use super::*;

/// A key of the API is shown nowhere, right or wrong.
#[test]
fn a_secret_is_not_shown() {
    let config = Config::with(&[("api-key", "0123456789abcdef")]).unwrap();
    let wrong = Config::with(&[("api-key", "sesame")]).unwrap_err().to_string();
    let shown = [config.to_string(), format!("{config:?}"), wrong.clone()].concat();
    assert!(!shown.contains("0123456789abcdef") && !shown.contains("sesame"), "{shown}");
    assert!(config.to_string().contains("api-key = \"***\""), "{config}");
    let told = "api-key: '***' (from --api-key) is neither; write a secret of 16 bytes or more, or \
        sha256: and the hash of one, like what `openssl rand -hex 16` writes";
    assert_eq!(wrong, told);
}

/// Headers for a collector are shown nowhere, right or wrong, and need one.
#[test]
fn headers_are_not_shown() {
    let pairs = [("otlp-header", "authorization=Bearer sesame"), ("otlp-endpoint", "http://a")];
    let config = Config::with(&pairs).unwrap();
    let wrong = Config::with(&[("otlp-header", "Bearer sesame")]).unwrap_err().to_string();
    let alone = Config::with(&pairs[..1]).unwrap_err().to_string();
    let shown = [config.to_string(), format!("{config:?}"), wrong.clone(), alone.clone()].concat();
    assert!(!shown.contains("sesame"), "{shown}");
    assert!(config.to_string().contains("otlp-header = \"***\""), "{config}");
    let told = "otlp-header: '***' (from --otlp-header) is not that; write headers as name=value, with \
        commas between, like 'authorization=Bearer abc,x-tenant=7'";
    assert_eq!(wrong, told);
    let told = "otlp-header: '***' (from --otlp-header) is of no use without otlp-endpoint '' \
        (default); name the collector";
    assert_eq!(alone, told);
}

/// A collector is an http or https URL, and a wrong one is refused in words.
#[test]
fn a_collector_is_a_url() {
    for right in ["http://127.0.0.1:4318", "https://otel.example/tenant/", "http://[::1]:4318"] {
        let config = Config::with(&[("otlp-endpoint", right)]).unwrap();
        assert_eq!(config.otlp_endpoint.0.as_deref(), Some(right));
    }
    for wrong in ["127.0.0.1:4318", "grpc://a", "http://", "http:///v1", "https://:1", "http://a?b"]
    {
        let told = Config::with(&[("otlp-endpoint", wrong)]).unwrap_err().to_string();
        assert!(
            told.starts_with(&format!("otlp-endpoint: '{wrong}' (from --otlp-endpoint) ")),
            "{told}"
        );
        assert!(told.ends_with("write an http or https URL like http://127.0.0.1:4318"), "{told}");
    }
    let told = Config::with(&[("trace-sample", "10")]).unwrap_err().to_string();
    assert!(
        told.contains(
            "trace-sample: '10' (from --trace-sample) is of no use without otlp-endpoint"
        ),
        "{told}"
    );
}
