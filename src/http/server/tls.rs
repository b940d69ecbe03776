//! TLS for the API: the certificate and key from two PEM files, read again when they change, so that a renewed
//! certificate needs no restart.

use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use anyhow::Context as _;
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use crate::common::log_throttle::LogThrottle;

/// How often the files are read to find a change. They are small, and this also notices a changed link.
const CHECK_INTERVAL: Duration = Duration::from_secs(10);

/// Where the certificate and its key are.
#[derive(Debug, Clone)]
pub struct TlsFiles {
    /// The certificate and its intermediates, in PEM.
    pub certificate: PathBuf,
    /// The private key, in PEM.
    pub key: PathBuf,
}

/// The content of both files.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Pair {
    certificate: Vec<u8>,
    key: Vec<u8>,
}

/// The current certificate.
#[derive(Debug)]
pub struct Tls {
    files: TlsFiles,
    provider: Arc<CryptoProvider>,
    current: RwLock<(Pair, Arc<CertifiedKey>)>,
}

impl ResolvesServerCert for Tls {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner).1))
    }
}

impl Tls {
    /// Reads both files.
    ///
    /// # Errors
    /// A file can't be read, has no certificate or key, or they don't belong together.
    pub fn load(files: TlsFiles) -> anyhow::Result<Arc<Self>> {
        let provider = Arc::new(default_provider());
        let pair = files.read()?;
        let certified = pair.parse(&provider).with_context(|| files.to_string())?;
        Ok(Arc::new(Self { files, provider, current: RwLock::new((pair, Arc::new(certified))) }))
    }

    /// Accepts TLS connections, each with the certificate of that time.
    ///
    /// # Errors
    /// The library supports no version of TLS.
    pub fn acceptor(self: &Arc<Self>) -> Result<TlsAcceptor, rustls::Error> {
        let config = rustls::ServerConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(self) as Arc<dyn ResolvesServerCert>);
        Ok(TlsAcceptor::from(Arc::new(config)))
    }

    /// Reads the files again and again until cancelled. While they are not a valid pair, the last valid one stays.
    pub async fn watch(self: Arc<Self>, cancel: CancellationToken) {
        let (mut last_problem, log) = (None, LogThrottle::per_minute());
        while cancel.run_until_cancelled(tokio::time::sleep(CHECK_INTERVAL)).await.is_some() {
            let problem = match self.reload() {
                Ok(false) => None,
                Ok(true) => {
                    tracing::info!(files = %self.files, "serving a new certificate");
                    None
                }
                Err(error) => Some(format!("{error:#}")),
            };
            // A renewal replaces one file after the other, so a problem counts only if the next check finds it too.
            if let Some(problem) = &problem
                && last_problem.as_ref() == Some(problem)
                && log.permit().is_some()
            {
                tracing::error!(problem, "the new certificate is not valid; serving the last valid one");
            }
            last_problem = problem;
        }
    }

    /// Whether the files have changed to another valid pair, which is served from now on.
    fn reload(&self) -> anyhow::Result<bool> {
        let pair = self.files.read()?;
        if self.current.read().unwrap_or_else(PoisonError::into_inner).0 == pair {
            return Ok(false);
        }
        let certified = pair.parse(&self.provider).with_context(|| self.files.to_string())?;
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = (pair, Arc::new(certified));
        Ok(true)
    }
}

impl TlsFiles {
    fn read(&self) -> anyhow::Result<Pair> {
        let read = |path: &PathBuf| {
            std::fs::read(path).with_context(|| format!("the TLS file {} can't be read", path.display()))
        };
        Ok(Pair { certificate: read(&self.certificate)?, key: read(&self.key)? })
    }
}

impl std::fmt::Display for TlsFiles {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the TLS certificate {} and key {}", self.certificate.display(), self.key.display())
    }
}

impl Pair {
    fn parse(&self, provider: &CryptoProvider) -> anyhow::Result<CertifiedKey> {
        let certificates: Vec<_> = CertificateDer::pem_slice_iter(&self.certificate)
            .collect::<Result<_, _>>()
            .context("the certificate is not PEM")?;
        anyhow::ensure!(!certificates.is_empty(), "there is no certificate in the file");
        // The error of the library could quote the key.
        let key = PrivateKeyDer::from_pem_slice(&self.key).ok().context("there is no private key in the file")?;
        CertifiedKey::from_der(certificates, key, provider).context("the certificate and the key don't fit together")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/integration/api/tls");

    /// Copies of a test's certificate and key.
    fn files(folder: &std::path::Path) -> TlsFiles {
        let files = TlsFiles { certificate: folder.join("tls.crt"), key: folder.join("tls.key") };
        copy("first.crt", &files.certificate);
        copy("first.key", &files.key);
        files
    }

    fn copy(name: &str, to: &PathBuf) {
        std::fs::copy(format!("{FOLDER}/{name}"), to).unwrap();
    }

    #[test]
    fn tls_load_of_a_pair_that_does_not_fit_names_the_files() {
        let folder = tempfile::tempdir().unwrap();
        let files = files(folder.path());
        Tls::load(files.clone()).unwrap();
        copy("second.key", &files.key);
        let error = format!("{:#}", Tls::load(files.clone()).unwrap_err());
        assert!(error.contains("tls.crt") && error.contains("don't fit together"), "{error}");
        for (text, problem) in [("", "no private key"), ("-----BEGIN PRIVATE KEY-----\nsecret", "no private key")] {
            std::fs::write(&files.key, text).unwrap();
            let error = format!("{:#}", Tls::load(files.clone()).unwrap_err());
            assert!(error.contains(problem) && !error.contains("secret"), "{error}");
        }
        std::fs::remove_file(&files.key).unwrap();
        let error = format!("{:#}", Tls::load(files).unwrap_err());
        assert!(error.contains("tls.key can't be read"), "{error}");
    }

    #[test]
    fn tls_reload_serves_the_new_pair_and_keeps_the_old_one_if_the_new_one_is_invalid() {
        let folder = tempfile::tempdir().unwrap();
        let files = files(folder.path());
        let tls = Tls::load(files.clone()).unwrap();
        let served = || tls.current.read().unwrap().1.cert[0].clone();
        let first = served();
        assert!(!tls.reload().unwrap(), "nothing has changed");
        copy("second.crt", &files.certificate);
        tls.reload().unwrap_err();
        assert_eq!(served(), first);
        copy("second.key", &files.key);
        assert!(tls.reload().unwrap());
        assert_ne!(served(), first);
    }
}
