//! Private keys as OpenSSL writes them by default (`EC PRIVATE KEY`, `RSA PRIVATE KEY`) in the one form we keep, PKCS #8.

/// DER of `ecPublicKey` (RFC 5480).
const EC: &[u8] = &[0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
/// DER of the curve P-256.
const P256: &[u8] = &[0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
/// DER of the curve P-384.
const P384: &[u8] = &[0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x22];
/// DER of `rsaEncryption` with its NULL parameters (RFC 8017).
const RSA: &[u8] = &[
    0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00,
];
/// Version 0.
const VERSION: &[u8] = &[0x02, 0x01, 0x00];

const SEQUENCE: u8 = 0x30;
const OCTET_STRING: u8 = 0x04;

/// An `ECPrivateKey` (RFC 5915) as PKCS #8; `None` for other curves than P-256 and P-384.
pub(super) fn from_sec1(key: &[u8]) -> Option<Vec<u8>> {
    let names = |curve: &[u8]| key.windows(curve.len()).any(|part| part == curve);
    let curve = if names(P256) {
        P256
    } else if names(P384) {
        P384
    } else {
        return None;
    };
    Some(wrap(&[EC, curve].concat(), key))
}

/// An `RSAPrivateKey` (RFC 8017) as PKCS #8.
pub(super) fn from_pkcs1(key: &[u8]) -> Vec<u8> {
    wrap(RSA, key)
}

fn wrap(algorithm: &[u8], key: &[u8]) -> Vec<u8> {
    let content = [
        VERSION,
        &tagged(SEQUENCE, algorithm),
        &tagged(OCTET_STRING, key),
    ];
    tagged(SEQUENCE, &content.concat())
}

fn tagged(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len().to_be_bytes();
    let significant: Vec<u8> = length.into_iter().skip_while(|byte| *byte == 0).collect();
    let mut out = vec![tag];
    match (significant.as_slice(), u8::try_from(significant.len())) {
        ([], _) => out.push(0),
        ([short], _) if *short < 0x80 => out.push(*short),
        (long, count) => {
            out.push(0x80 | count.unwrap_or(0x7f));
            out.extend_from_slice(long);
        }
    }
    out.extend_from_slice(content);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_encoded_as_der_wants_them() {
        assert_eq!(tagged(4, &[]), [4, 0]);
        assert_eq!(tagged(4, &[7; 3]), [4, 3, 7, 7, 7]);
        assert_eq!(tagged(4, &[0; 200])[..3], [4, 0x81, 200]);
        assert_eq!(tagged(4, &[0; 300])[..4], [4, 0x82, 1, 44]);
    }
}
