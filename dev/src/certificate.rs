//! Certificates that vouch for themselves.

use std::sync::Arc;

use anyhow::{Result, anyhow};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

/// A certificate for `host` as PEM, and who shows it.
pub fn certified(host: &str) -> Result<(String, TlsAcceptor)> {
    let key = rcgen::KeyPair::generate()?;
    let certificate = rcgen::CertificateParams::new(vec![host.to_owned()])?.self_signed(&key)?;
    let key = PrivateKeyDer::try_from(key.serialize_der()).map_err(|error| anyhow!("{error}"))?;
    let config = ServerConfig::builder().with_no_client_auth();
    let config = config.with_single_cert(vec![certificate.der().clone()], key)?;
    Ok((certificate.pem(), TlsAcceptor::from(Arc::new(config))))
}
