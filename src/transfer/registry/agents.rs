//! Connections: one pool for each host, with the certificates that belong to it.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use ureq::config::AutoHeaderValue;
use ureq::tls::{Certificate, ClientCert, PemItem, RootCerts, TlsConfig, parse_pem};
use ureq::{Agent, Proxy};

use super::options::RegistryOptions;
use super::url::Url;
use crate::fs::{Access, Dir, input};
use crate::{Error, ErrorKind, Result, ResultExt};

/// Most bytes of a file with certificates.
const FILE_SIZE: u64 = 16 << 20;

/// How long a connection may take to be there.
const CONNECT: Duration = Duration::from_secs(30);

/// Connections to one host that are kept open.
const IDLE_COUNT: usize = 8;

type Certificates = Vec<Certificate<'static>>;

/// Makes and keeps the pools.
pub(super) struct Agents {
    options: RegistryOptions,
    roots: OnceLock<Certificates>,
    pools: Mutex<BTreeMap<(bool, String, bool), Agent>>,
}

/// What is trusted of one host, and what is shown to it.
#[derive(Default)]
struct HostCertificates {
    authorities: Certificates,
    client: Option<ClientCert>,
}

impl Agents {
    pub(super) fn new(options: RegistryOptions) -> Self {
        Self {
            options,
            roots: OnceLock::new(),
            pools: Mutex::default(),
        }
    }

    pub(super) fn options(&self) -> &RegistryOptions {
        &self.options
    }

    /// The pool for a URL. `insecure`: certificates are not checked.
    pub(super) fn of(&self, url: &Url, insecure: bool) -> Result<Agent> {
        let key = (url.is_secure(), url.authority().to_owned(), insecure);
        let mut pools = self.pools.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(agent) = pools.get(&key) {
            return Ok(agent.clone());
        }
        let agent = self
            .make(url, insecure)
            .context(|| format!("prepare a connection to {}", url.authority()))?;
        pools.insert(key, agent.clone());
        Ok(agent)
    }

    fn make(&self, url: &Url, insecure: bool) -> Result<Agent> {
        let proxy = self.options.proxies.of(url.is_secure(), url.authority());
        let proxy = proxy.map(Proxy::new).transpose().map_err(|_| {
            // A proxy's URL may hold a password.
            Error::new(ErrorKind::InvalidInput, "the proxy is not a URL")
        })?;
        let stall = Some(self.options.stall_timeout);
        let mut config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .accept_encoding(AutoHeaderValue::None)
            .accept(AutoHeaderValue::None)
            .user_agent(concat!("bundle/", env!("CARGO_PKG_VERSION")))
            .proxy(proxy)
            .max_idle_connections_per_host(IDLE_COUNT)
            .timeout_connect(Some(CONNECT))
            .timeout_resolve(Some(CONNECT))
            .timeout_per_read(stall)
            .timeout_per_write(stall);
        if url.is_secure() {
            config = config.tls_config(self.tls(url.authority(), insecure)?);
        }
        Ok(config.build().into())
    }

    fn tls(&self, host: &str, insecure: bool) -> Result<TlsConfig> {
        let own = self.of_host(host)?;
        let mut authorities = own.authorities;
        if !insecure {
            authorities.extend_from_slice(self.roots()?);
        }
        Ok(TlsConfig::builder()
            .root_certs(RootCerts::Specific(Arc::new(authorities)))
            .client_cert(own.client)
            .disable_verification(insecure)
            .build())
    }

    /// The authorities that the system trusts.
    fn roots(&self) -> Result<&[Certificate<'static>]> {
        if let Some(roots) = self.roots.get() {
            return Ok(roots);
        }
        for path in &self.options.roots {
            match certificates(path) {
                Ok(found) => return Ok(self.roots.get_or_init(|| found)),
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(self.roots.get_or_init(Vec::new))
    }

    /// What the first directory of this host's has: `*.crt` are authorities, `x.cert` with `x.key` is shown to the host.
    fn of_host(&self, host: &str) -> Result<HostCertificates> {
        for directory in &self.options.certs_dirs {
            let dir = match Dir::open(&directory.join(host), Access::Plain) {
                Ok(dir) => dir,
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            let mut found = HostCertificates::default();
            let mut names = dir.names()?;
            names.sort();
            for name in &names {
                let path = dir.path_of(name);
                if name.ends_with(b".crt") {
                    found.authorities.extend(certificates(&path)?);
                } else if name.ends_with(b".cert") {
                    found.client = Some(client(&path)?);
                }
            }
            return Ok(found);
        }
        Ok(HostCertificates::default())
    }
}

fn certificates(path: &Path) -> Result<Certificates> {
    let pem = input::read(path, FILE_SIZE)?;
    let found: Certificates = parse_pem(&pem)
        .filter_map(|item| match item {
            Ok(PemItem::Certificate(certificate)) => Some(Ok(certificate)),
            Ok(_) => None,
            Err(error) => Some(Err(malformed(path).with_source(error))),
        })
        .collect::<Result<_>>()?;
    if found.is_empty() {
        return Err(malformed(path));
    }
    Ok(found)
}

fn client(path: &Path) -> Result<ClientCert> {
    let chain = certificates(path)?;
    let key = path.with_extension("key");
    let pem =
        input::read(&key, FILE_SIZE).context(|| format!("read the key of {}", path.display()))?;
    let mut items = parse_pem(&pem);
    let key = items.find_map(|item| match item {
        Ok(PemItem::PrivateKey(key)) => Some(key),
        _ => None,
    });
    let key = key.ok_or_else(|| malformed(&path.with_extension("key")))?;
    Ok(ClientCert::new_with_certs(&chain, key))
}

fn malformed(path: &Path) -> Error {
    let message = format!("{} holds no certificate or key in PEM", path.display());
    Error::new(ErrorKind::InvalidData, message)
}
