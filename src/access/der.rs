//! As much of DER as public keys are made of (X.690 §8, RFC 5280 §4.1, RFC 8017 §A.1.1).

/// A public key, as it stands in a `SubjectPublicKeyInfo`.
pub(super) enum PublicKey<'a> {
    /// Modulus and exponent, without leading zeros.
    Rsa(&'a [u8], &'a [u8]),
    /// A point of P-256, uncompressed.
    P256(&'a [u8]),
    /// 32 bytes.
    Ed25519(&'a [u8]),
}

/// Reads a `SubjectPublicKeyInfo`; `None` if it is none, or of a kind that is not used here.
pub(super) fn public_key(der: &[u8]) -> Option<PublicKey<'_>> {
    let mut info = whole(SEQUENCE, der)?;
    let algorithm = take(SEQUENCE, &mut info)?;
    let key = whole(BIT_STRING, info)?.strip_prefix(&[0])?;
    match algorithm {
        RSA => rsa(key),
        P256 => Some(PublicKey::P256(key)),
        ED25519 => Some(PublicKey::Ed25519(key)),
        _ => None,
    }
}

/// Whether this is one sequence and nothing else: what keys and certificates are.
pub(super) fn is_sequence(der: &[u8]) -> bool {
    whole(SEQUENCE, der).is_some()
}

/// Reads an `RSAPublicKey`.
pub(super) fn rsa(der: &[u8]) -> Option<PublicKey<'_>> {
    let mut key = whole(SEQUENCE, der)?;
    let modulus = take(INTEGER, &mut key)?;
    let exponent = whole(INTEGER, key)?;
    Some(PublicKey::Rsa(positive(modulus)?, positive(exponent)?))
}

fn positive(integer: &[u8]) -> Option<&[u8]> {
    match integer {
        [0, rest @ ..] => Some(rest),
        [first, ..] if first & 0x80 == 0 => Some(integer),
        _ => None,
    }
}

/// What is in the only element of this tag.
fn whole(tag: u8, mut der: &[u8]) -> Option<&[u8]> {
    let inner = take(tag, &mut der)?;
    der.is_empty().then_some(inner)
}

/// What is in the first element, if it has this tag.
fn take<'a>(tag: u8, der: &mut &'a [u8]) -> Option<&'a [u8]> {
    let rest = der.strip_prefix(&[tag])?;
    let (&first, rest) = rest.split_first()?;
    let (len, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81 => (usize::from(*rest.first()?), rest.get(1..)?),
        0x82 => (usize::from(u16::from_be_bytes([*rest.first()?, *rest.get(1)?])), rest.get(2..)?),
        _ => return None,
    };
    let (inner, rest) = rest.split_at_checked(len)?;
    *der = rest;
    Some(inner)
}

const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const SEQUENCE: u8 = 0x30;

/// rsaEncryption (1.2.840.113549.1.1.1), and NULL.
const RSA: &[u8] = &[6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 1, 5, 0];
/// id-ecPublicKey (1.2.840.10045.2.1), prime256v1 (1.2.840.10045.3.1.7).
const P256: &[u8] =
    &[6, 7, 0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1, 6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7];
/// id-Ed25519 (1.3.101.112).
const ED25519: &[u8] = &[6, 3, 0x2b, 0x65, 0x70];
