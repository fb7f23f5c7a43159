//! Keys that sign access tokens: what they are, which algorithm each fits, and how others learn the public ones (RFC 7517).

use aws_lc_rs::encoding::AsDer as _;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, ED25519, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _,
    ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256, RsaKeyPair,
};
use aws_lc_rs::{digest, error::Unspecified};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{DecodingKey, EncodingKey};
use serde::Serialize;
use zeroize::Zeroizing;

use super::{der, pem};

/// Shortest and longest RSA modulus, in bits. Source: RFC 7518, 3.3; a longer one makes tokens that headers cannot hold.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2_048..=4_096;
/// Least public exponent of RSA. Source: FIPS 186-5, A.1.1.
const RSA_EXPONENT_MIN: u64 = 65_537;

/// `SubjectPublicKeyInfo` up to the key itself. Source: RFC 8410, 4; RFC 5480, 2.1.1; RFC 3279, 2.3.1.
const ED25519_SPKI: &[u8] = b"\x30\x2a\x30\x05\x06\x03\x2b\x65\x70\x03\x21\x00";
const P256_SPKI: &[u8] =
    b"\x30\x59\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07\x03\x42\x00";
const RSA_ALGORITHM: &[u8] = b"\x30\x0d\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01\x05\x00";
/// Uncompressed point: a byte 4 and two coordinates.
const P256_POINT: usize = 65;

const PRIVATE_LABEL: &str = "PRIVATE KEY";
const PUBLIC_LABEL: &str = "PUBLIC KEY";

/// `JWT_ALGORITHM`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    Hs256,
    EdDsa,
    Es256,
    Rs256,
}

impl Algorithm {
    pub const ALL: [Self; 4] = [Self::Hs256, Self::EdDsa, Self::Es256, Self::Rs256];

    /// As it stands in `alg`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Hs256 => "HS256",
            Self::EdDsa => "EdDSA",
            Self::Es256 => "ES256",
            Self::Rs256 => "RS256",
        }
    }

    pub(super) const fn of_library(self) -> jsonwebtoken::Algorithm {
        match self {
            Self::Hs256 => jsonwebtoken::Algorithm::HS256,
            Self::EdDsa => jsonwebtoken::Algorithm::EdDSA,
            Self::Es256 => jsonwebtoken::Algorithm::ES256,
            Self::Rs256 => jsonwebtoken::Algorithm::RS256,
        }
    }
}

/// What is wrong with a key: completes the sentence "must …". It never quotes the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyFault {
    #[error("be PEM text: -----BEGIN {0}----- …; line breaks may be written as \\n")]
    NotPem(&'static str),
    #[error(
        "be an unencrypted PKCS#8 key, -----BEGIN PRIVATE KEY-----: `openssl pkcs8 -topk8 -nocrypt` makes one of another form"
    )]
    NotPkcs8,
    #[error("hold exactly one key")]
    NotOne,
    #[error("be public keys, -----BEGIN PUBLIC KEY-----: `openssl pkey -pubout` makes one of a private key")]
    NotPublic,
    #[error("be an Ed25519 key: JWT_ALGORITHM is EdDSA")]
    NotEd25519,
    #[error("be a key on the curve P-256: JWT_ALGORITHM is ES256")]
    NotP256,
    #[error("be an RSA key: JWT_ALGORITHM is RS256")]
    NotRsa,
    #[error("be an RSA key of 2048 to 4096 bits with a public exponent of 65537 or more")]
    RsaSize,
    #[error("be keys of Ed25519, P-256 or RSA")]
    Unknown,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Material {
    Ed25519(Vec<u8>),
    P256(Vec<u8>),
    Rsa { modulus: Vec<u8>, exponent: Vec<u8> },
}

/// A key that verifies and may be shown to anyone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicKey {
    kid: String,
    material: Material,
}

impl PublicKey {
    fn new(material: Material) -> Result<Self, KeyFault> {
        let is_sound = match &material {
            Material::Ed25519(bytes) => ParsedPublicKey::new(&ED25519, bytes).is_ok(),
            Material::P256(point) => {
                point.len() == P256_POINT && ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).is_ok()
            }
            Material::Rsa { modulus, exponent } => return Self::new_rsa(modulus, exponent),
        };
        if is_sound { Ok(Self { kid: thumbprint(&material), material }) } else { Err(KeyFault::Unknown) }
    }

    fn new_rsa(modulus: &[u8], exponent: &[u8]) -> Result<Self, KeyFault> {
        let bits = modulus.first().map_or(0, |first| modulus.len() * 8 - first.leading_zeros() as usize);
        let value =
            exponent.iter().try_fold(0_u64, |value, byte| value.checked_mul(256).map(|value| value + u64::from(*byte)));
        let is_odd = |bytes: &[u8]| bytes.last().is_some_and(|last| last % 2 == 1);
        let is_sound = RSA_BITS.contains(&bits)
            && value.is_some_and(|value| value >= RSA_EXPONENT_MIN)
            && is_odd(modulus)
            && is_odd(exponent);
        let material = Material::Rsa { modulus: modulus.to_vec(), exponent: exponent.to_vec() };
        let key = Self { kid: thumbprint(&material), material };
        let is_parsed = ParsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, key.spki()).is_ok();
        if is_sound && is_parsed { Ok(key) } else { Err(KeyFault::RsaSize) }
    }

    /// Reads every `PUBLIC KEY` block of a text.
    pub fn all_of_pem(text: &str) -> Result<Vec<Self>, KeyFault> {
        let blocks = pem::blocks(text).ok_or(KeyFault::NotPem(PUBLIC_LABEL))?;
        if blocks.iter().any(|block| block.label != PUBLIC_LABEL) {
            return Err(KeyFault::NotPublic);
        }
        blocks.iter().map(|block| Self::of_spki(&block.der)).collect()
    }

    fn of_spki(spki: &[u8]) -> Result<Self, KeyFault> {
        if let Some(key) = spki.strip_prefix(ED25519_SPKI) {
            return Self::new(Material::Ed25519(key.to_vec()));
        }
        if let Some(point) = spki.strip_prefix(P256_SPKI) {
            return Self::new(Material::P256(point.to_vec()));
        }
        let (modulus, exponent) = rsa_of_spki(spki).ok_or(KeyFault::Unknown)?;
        Self::new_rsa(modulus, exponent)
    }

    /// `SubjectPublicKeyInfo`.
    fn spki(&self) -> Vec<u8> {
        match &self.material {
            Material::Ed25519(key) => [ED25519_SPKI, key].concat(),
            Material::P256(point) => [P256_SPKI, point].concat(),
            Material::Rsa { modulus, exponent } => {
                let key = der::element(0x30, &[der::integer(modulus), der::integer(exponent)].concat());
                der::element(0x30, &[RSA_ALGORITHM, &der::element(0x03, &[&[0], key.as_slice()].concat())].concat())
            }
        }
    }

    pub fn to_pem(&self) -> String {
        pem::encode(PUBLIC_LABEL, &self.spki()).to_string()
    }

    pub const fn algorithm(&self) -> Algorithm {
        match self.material {
            Material::Ed25519(_) => Algorithm::EdDsa,
            Material::P256(_) => Algorithm::Es256,
            Material::Rsa { .. } => Algorithm::Rs256,
        }
    }

    /// Its RFC 7638 thumbprint.
    pub fn kid(&self) -> &str {
        &self.kid
    }

    pub(super) fn decoding(&self) -> DecodingKey {
        match &self.material {
            Material::Ed25519(key) => DecodingKey::from_ed_der(key),
            Material::P256(point) => DecodingKey::from_ec_der(point),
            Material::Rsa { modulus, exponent } => DecodingKey::from_rsa_raw_components(modulus, exponent),
        }
    }

    /// How the key set shows it.
    pub fn jwk(&self) -> Jwk {
        let parts = parts(&self.material);
        let part = |name| parts.iter().find(|(own, _)| *own == name).map(|(_, value)| value.clone());
        Jwk {
            kty: part("kty").unwrap_or_default(),
            crv: part("crv"),
            x: part("x"),
            y: part("y"),
            n: part("n"),
            e: part("e"),
            kid: self.kid.clone(),
            alg: self.algorithm().name().to_owned(),
            usage: "sig".to_owned(),
        }
    }
}

/// A public key as RFC 7517 writes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Jwk {
    pub kty: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub crv: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub x: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub y: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub n: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub e: Option<String>,
    pub kid: String,
    pub alg: String,
    #[serde(rename = "use")]
    pub usage: String,
}

/// What makes the key, in the order in which its thumbprint takes it: that of the names.
fn parts(material: &Material) -> Vec<(&'static str, String)> {
    let text = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    match material {
        Material::Ed25519(key) => {
            vec![("crv", "Ed25519".to_owned()), ("kty", "OKP".to_owned()), ("x", text(key))]
        }
        Material::P256(point) => {
            let (x, y) = point.get(1..).unwrap_or_default().split_at(point.len().saturating_sub(1) / 2);
            vec![("crv", "P-256".to_owned()), ("kty", "EC".to_owned()), ("x", text(x)), ("y", text(y))]
        }
        Material::Rsa { modulus, exponent } => {
            vec![("e", text(exponent)), ("kty", "RSA".to_owned()), ("n", text(modulus))]
        }
    }
}

/// Source: RFC 7638, section 3. No value needs escaping.
fn thumbprint(material: &Material) -> String {
    let members: Vec<_> = parts(material).iter().map(|(name, value)| format!("\"{name}\":\"{value}\"")).collect();
    let json = format!("{{{}}}", members.join(","));
    URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, json.as_bytes()))
}

/// A key that signs.
#[derive(Clone)]
pub struct PrivateKey {
    public: PublicKey,
    /// What the library signs with: PKCS#8, or PKCS#1 for RSA.
    der: Zeroizing<Vec<u8>>,
    pkcs8: Zeroizing<Vec<u8>>,
}

impl std::fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PrivateKey(kid {})", self.public.kid)
    }
}

impl PrivateKey {
    /// The one key of a PKCS#8 PEM text, if it fits the algorithm.
    pub fn of_pem(text: &str, algorithm: Algorithm) -> Result<Self, KeyFault> {
        let blocks = pem::blocks(text).ok_or(KeyFault::NotPem(PRIVATE_LABEL))?;
        let [block] = blocks.as_slice() else { return Err(KeyFault::NotOne) };
        if block.label != PRIVATE_LABEL {
            return Err(KeyFault::NotPkcs8);
        }
        Self::of_pkcs8(&block.der, algorithm)
    }

    fn of_pkcs8(pkcs8: &[u8], algorithm: Algorithm) -> Result<Self, KeyFault> {
        let whole = || Zeroizing::new(pkcs8.to_vec());
        let (material, der) = match algorithm {
            Algorithm::Hs256 => return Err(KeyFault::Unknown),
            Algorithm::EdDsa => {
                let pair = Ed25519KeyPair::from_pkcs8(pkcs8).map_err(|_| KeyFault::NotEd25519)?;
                (Material::Ed25519(pair.public_key().as_ref().to_vec()), whole())
            }
            Algorithm::Es256 => {
                let pair =
                    EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8).map_err(|_| KeyFault::NotP256)?;
                (Material::P256(pair.public_key().as_ref().to_vec()), whole())
            }
            Algorithm::Rs256 => {
                let inner = rsa_of_pkcs8(pkcs8).ok_or(KeyFault::NotRsa)?;
                // The library refuses what is too short or not sound.
                let pair = RsaKeyPair::from_der(inner).map_err(|_| KeyFault::RsaSize)?;
                let material = Material::Rsa {
                    modulus: pair.public_key().modulus().big_endian_without_leading_zero().to_vec(),
                    exponent: pair.public_key().exponent().big_endian_without_leading_zero().to_vec(),
                };
                (material, Zeroizing::new(inner.to_vec()))
            }
        };
        Ok(Self { public: PublicKey::new(material)?, der, pkcs8: whole() })
    }

    /// A fresh one; RSA with 3072 bits. `None` for HS256, whose key is no pair.
    pub fn generate(algorithm: Algorithm) -> Result<Option<Self>, Unspecified> {
        let pkcs8 = match algorithm {
            Algorithm::Hs256 => return Ok(None),
            Algorithm::EdDsa => Ed25519KeyPair::generate()?.to_pkcs8v1()?.as_ref().to_vec(),
            Algorithm::Es256 => {
                EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING)?.to_pkcs8v1()?.as_ref().to_vec()
            }
            Algorithm::Rs256 => RsaKeyPair::generate(KeySize::Rsa3072)?.as_der()?.as_ref().to_vec(),
        };
        Self::of_pkcs8(&Zeroizing::new(pkcs8), algorithm).map(Some).map_err(|_| Unspecified)
    }

    pub const fn public(&self) -> &PublicKey {
        &self.public
    }

    pub fn to_pem(&self) -> Zeroizing<String> {
        pem::encode(PRIVATE_LABEL, &self.pkcs8)
    }

    pub(super) fn encoding(&self) -> EncodingKey {
        match self.public.algorithm() {
            Algorithm::Es256 => EncodingKey::from_ec_der(&self.der),
            Algorithm::Rs256 => EncodingKey::from_rsa_der(&self.der),
            Algorithm::EdDsa | Algorithm::Hs256 => EncodingKey::from_ed_der(&self.der),
        }
    }
}

/// Modulus and exponent, without leading zeros.
fn rsa_of_spki(spki: &[u8]) -> Option<(&[u8], &[u8])> {
    let bits = der::only(0x03, der::only(0x30, spki)?.strip_prefix(RSA_ALGORITHM)?)?;
    let (modulus, rest) = der::read(0x02, der::only(0x30, bits.strip_prefix(&[0])?)?)?;
    let exponent = der::only(0x02, rest)?;
    Some((modulus.strip_prefix(&[0]).unwrap_or(modulus), exponent.strip_prefix(&[0]).unwrap_or(exponent)))
}

/// The `RSAPrivateKey` in a PKCS#8 `PrivateKeyInfo`.
fn rsa_of_pkcs8(pkcs8: &[u8]) -> Option<&[u8]> {
    let rest = der::only(0x30, pkcs8)?.strip_prefix(b"\x02\x01\x00")?.strip_prefix(RSA_ALGORITHM)?;
    der::read(0x04, rest).map(|(key, _)| key)
}
