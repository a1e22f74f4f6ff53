//! What a client of registries may be told. The library reads no environment: [`RegistryOptions::for_user`] is given it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::credentials::{AuthFile, Credentials, usual_files};

/// Bundles of certificates of the system; the first one that exists is used.
const ROOTS: &[&str] = &[
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// Directories with a directory of certificates for each host.
const CERTS_DIRS: &[&str] = &["/etc/containers/certs.d", "/etc/docker/certs.d"];

/// How long nothing may come or go.
const STALL: Duration = Duration::from_secs(120);

/// How registries are asked.
#[derive(Clone, Debug)]
pub struct RegistryOptions {
    /// Files with credentials, in the order in which they are asked.
    pub auth_files: Vec<AuthFile>,
    /// Credentials that are used in place of those in files.
    pub credentials: Option<Credentials>,
    /// Files of certificates (PEM) of authorities; the first one that exists counts.
    pub roots: Vec<PathBuf>,
    /// Directories with a directory of certificates for each host; of a host, the first one that exists counts.
    pub certs_dirs: Vec<PathBuf>,
    /// Files of `registries.conf`, and directories of such; later ones win.
    pub registries_conf: Vec<PathBuf>,
    /// Whether certificates are not checked, and plain HTTP is tried where TLS fails.
    pub insecure: bool,
    /// The way through proxies.
    pub proxies: Proxies,
    /// How long nothing may come from a registry before the connection is given up.
    pub stall_timeout: Duration,
}

impl Default for RegistryOptions {
    /// The system's certificates and `registries.conf`, and no credentials.
    fn default() -> Self {
        let paths = |list: &[&str]| list.iter().map(PathBuf::from).collect();
        Self {
            auth_files: Vec::new(),
            credentials: None,
            roots: paths(ROOTS),
            certs_dirs: paths(CERTS_DIRS),
            registries_conf: paths(&[
                "/etc/containers/registries.conf",
                "/etc/containers/registries.conf.d",
            ]),
            insecure: false,
            proxies: Proxies::default(),
            stall_timeout: STALL,
        }
    }
}

/// The parts of an environment that matter for registries.
#[derive(Clone, Copy, Debug, Default)]
pub struct UserPaths<'a> {
    /// `REGISTRY_AUTH_FILE`: a file with credentials that must exist.
    pub auth_file: Option<&'a Path>,
    /// `XDG_RUNTIME_DIR`.
    pub runtime_dir: Option<&'a Path>,
    /// `XDG_CONFIG_HOME`.
    pub config_home: Option<&'a Path>,
    /// `HOME`.
    pub home: Option<&'a Path>,
    /// `CONTAINERS_REGISTRIES_CONF`: a file in place of all others.
    pub registries_conf: Option<&'a Path>,
}

impl RegistryOptions {
    /// The defaults with the files of a user: credentials, certificates, `registries.conf`.
    pub fn for_user(paths: UserPaths<'_>) -> Self {
        let mut options = Self {
            auth_files: usual_files(
                paths.auth_file,
                paths.runtime_dir,
                paths.config_home,
                paths.home,
            ),
            ..Self::default()
        };
        let home = paths.home.map(|home| home.join(".config"));
        if let Some(config) = paths.config_home.map(Path::to_owned).or(home) {
            let containers = config.join("containers");
            options.certs_dirs.insert(0, containers.join("certs.d"));
            for name in ["registries.conf", "registries.conf.d"] {
                options.registries_conf.push(containers.join(name));
            }
        }
        if let Some(file) = paths.registries_conf {
            options.registries_conf = vec![file.to_owned()];
        }
        options
    }
}

/// Proxies, as the variables of these names have them: URLs with `http://`, or a host and a port.
#[derive(Clone, Debug, Default)]
pub struct Proxies {
    /// `HTTP_PROXY`: for plain HTTP.
    pub http: Option<String>,
    /// `HTTPS_PROXY`: for TLS.
    pub https: Option<String>,
    /// `NO_PROXY`: names of hosts and domains with commas between them, or `*`.
    pub exceptions: Option<String>,
}

impl Proxies {
    /// The proxy to a host (with its port, if it has one). This machine is reached without.
    pub(super) fn of(&self, secure: bool, host: &str) -> Option<&str> {
        let proxy = if secure { &self.https } else { &self.http };
        let proxy = proxy.as_deref().filter(|proxy| !proxy.is_empty())?;
        let name = match host.rsplit_once(':') {
            Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
            _ => host,
        };
        let is_local = name == "localhost" || name == "[::1]" || name.starts_with("127.");
        let mut exceptions = self.exceptions.iter().flat_map(|list| list.split(','));
        let excepted = exceptions.any(|exception| {
            let domain = exception.trim().trim_start_matches(['*', '.']);
            exception.trim() == "*"
                || exception.trim() == host
                || (!domain.is_empty()
                    && name
                        .strip_suffix(domain)
                        .is_some_and(|rest| rest.is_empty() || rest.ends_with('.')))
        });
        (!is_local && !excepted).then_some(proxy)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proxies_have_exceptions_and_this_machine_is_one() {
        let proxies = Proxies {
            https: Some("http://proxy:3128".to_owned()),
            http: None,
            exceptions: Some("x.org, .y.org,*.z.org,w.org:5000".to_owned()),
        };
        for (host, expected) in [
            ("a.org", true),
            ("x.org", false),
            ("a.x.org:5000", false),
            ("ax.org", true),
            ("a.y.org", false),
            ("z.org", false),
            ("w.org:5000", false),
            ("w.org:5001", true),
            ("localhost:5000", false),
            ("127.0.0.1:5000", false),
            ("[::1]:5000", false),
        ] {
            assert_eq!(proxies.of(true, host).is_some(), expected, "{host}");
            assert_eq!(proxies.of(false, host), None, "{host}");
        }
        let none = Proxies {
            exceptions: Some("*".to_owned()),
            ..proxies
        };
        assert_eq!(none.of(true, "a.org"), None);
    }

    #[test]
    fn a_users_files_come_with_those_of_the_system() {
        let options = RegistryOptions::for_user(UserPaths {
            home: Some(Path::new("/home/u")),
            ..UserPaths::default()
        });
        let certs = &options.certs_dirs;
        assert_eq!(certs[0], Path::new("/home/u/.config/containers/certs.d"));
        let last = options.registries_conf.last().unwrap();
        assert!(last.starts_with("/home/u/.config"), "{last:?}");
        let only = RegistryOptions::for_user(UserPaths {
            registries_conf: Some(Path::new("/x")),
            ..UserPaths::default()
        });
        assert_eq!(only.registries_conf, [Path::new("/x")]);
    }
}
