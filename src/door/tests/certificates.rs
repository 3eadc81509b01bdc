//! Which certificate a client is shown, and what is said of files that are wrong.

use super::*;

/// The certificate that a client is shown who asks for this name.
fn shown(certificates: &Arc<Certificates>, name: &'static str) -> Vec<u8> {
    let server = Arc::new(server_config(Arc::clone(certificates), None).unwrap());
    let mut server = rustls::ServerConnection::new(server).unwrap();
    let name = ServerName::try_from(name).unwrap();
    // The handshake of TLS 1.2 shows the certificate to everybody, so it is found in what was sent.
    let config = rustls::ClientConfig::builder_with_provider(config::provider())
        .with_protocol_versions(&[&TLS12])
        .unwrap()
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
    let mut client = ClientConnection::new(Arc::new(config), name).unwrap();
    let mut said = Vec::new();
    client.write_tls(&mut said).unwrap();
    server.read_tls(&mut &said[..]).unwrap();
    server.process_new_packets().unwrap();
    let mut answer = Vec::new();
    server.write_tls(&mut answer).unwrap();
    answer
}

fn holds(answer: &[u8], certificate: &[u8]) -> bool {
    answer.windows(certificate.len()).any(|window| window == certificate)
}

/// Each name gets its certificate, unknown ones and none get the first; after a reload new handshakes
/// see the new files, and where one of them is wrong all stay as they were.
#[test]
fn the_name_decides_and_files_are_read_again() {
    let folder = Folder::new("names");
    let (first, first_der) = folder.certificate("a", &["a.example"]);
    let (second, second_der) = folder.certificate("b", &["*.b.example", "c.example"]);
    let certificates = Arc::new(Certificates::read(vec![first, second.clone()]).unwrap());
    for (name, expected) in [
        ("a.example", &first_der),
        ("x.b.example", &second_der),
        ("c.example", &second_der),
        ("d.example", &first_der),
        ("127.0.0.1", &first_der),
    ] {
        assert!(holds(&shown(&certificates, name), expected), "{name}");
    }
    let (_, fresh_der) = folder.certificate("b", &["c.example"]);
    certificates.reload().unwrap();
    assert!(holds(&shown(&certificates, "c.example"), &fresh_der));
    std::fs::write(&second.key, "nonsense").unwrap();
    folder.certificate("a", &["z.example"]);
    assert!(certificates.reload().is_err());
    assert!(holds(&shown(&certificates, "c.example"), &fresh_der));
    assert!(holds(&shown(&certificates, "a.example"), &first_der));
}

/// Each mistake is told with its file and what would be right.
#[test]
fn wrong_files_are_told() {
    let folder = Folder::new("wrong");
    let (a, _) = folder.certificate("a", &["a.example"]);
    let (b, _) = folder.certificate("b", &["b.example"]);
    let locked = folder.0.join("locked.key");
    let text = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
    std::fs::write(&locked, text).unwrap();
    let none = folder.0.join("none.pem");
    let (a_pem, a_key) = (a.certificate, a.key);
    for (certificate, key, told) in [
        (&none, &a_key, "none.pem: No such file or directory (os error 2); give a file in PEM"),
        (&a_key, &a_key, "a.key has no certificate; give one in PEM"),
        (&a_pem, &a_pem, "a.pem has no private key; give one in PEM"),
        (&a_pem, &locked, "locked.key has a key that is encrypted; decrypt it"),
        (&a_pem, &b.key, "b.key is not that of the certificate in"),
    ] {
        let files = Files { certificate: certificate.clone(), key: key.clone() };
        let error = Certificates::read(vec![files]).unwrap_err().to_string();
        assert!(error.contains(told), "{error}");
    }
}
