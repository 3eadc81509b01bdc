//! Addresses that cannot be listened on together, or not without more.

use super::*;

/// TLS needs a certificate and a port of its own.
#[test]
fn addresses_of_tls_fit_beside_the_others() {
    for (pairs, told) in [
        (
            &[("listen-tls", "127.0.0.1:1")][..],
            "listen-tls: '127.0.0.1:1' (from --listen-tls) needs tls-cert '' (default); \
            give a certificate, and its key as tls-key",
        ),
        (
            &[("control-client-ca", "ca.pem")],
            "control-client-ca: 'ca.pem' (from --control-client-ca) needs control-tls-cert '' \
            (default); give a certificate, and its key as control-tls-key",
        ),
        (
            &[("listen-tls", "0.0.0.0:8080"), ("tls-cert", "a"), ("tls-key", "b")],
            "listen-tls: '0.0.0.0:8080' (from --listen-tls) has a port of \
            listen '127.0.0.1:8080' (default); give each listener its own port",
        ),
        (
            &[("listen-tls", "127.0.0.1:8081"), ("tls-cert", "a"), ("tls-key", "b")],
            "control: '127.0.0.1:8081' (default) is the same port as listen-tls \
            '127.0.0.1:8081' (from --listen-tls); give each listener its own port",
        ),
        (
            &[("tls-cert", "a"), ("tls-key", "b")],
            "tls-cert: 'a' (from --tls-cert) is of no use without listen-tls '' (default); \
            say there where TLS is to be spoken",
        ),
        (
            &[("client-header", "forwarded")],
            "client-header: 'forwarded' (from --client-header) is on without trusted '' (default); \
            name the proxies' networks",
        ),
        (
            &[("control", "unix:/a"), ("control-tls-cert", "b"), ("control-tls-key", "c")],
            "control-tls-cert: 'b' (from --control-tls-cert) is of no use on the Unix socket of control \
            'unix:/a' (from --control); speak plainly there, or give an IP address with a port",
        ),
        (
            &[("tls-key", "b")],
            "tls-key: 'b' (from --tls-key) is of no use without tls-cert '' (default); \
            give the certificate that it is the key of",
        ),
        (
            &[("control-tls-key", "b")],
            "control-tls-key: 'b' (from --control-tls-key) is of no use without control-tls-cert '' \
            (default); give the certificate that it is the key of",
        ),
    ] {
        assert_eq!(Config::with(pairs).unwrap_err().to_string(), told);
    }
}
