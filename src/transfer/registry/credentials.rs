//! Credentials: the files of `podman login` and `docker login`, and the helpers that these name.
//!
//! For `HOST/A/B`, the keys `HOST/A/B`, `HOST/A` and `HOST` are looked up in this order, in one file after the other. An
//! entry without content does not count, so that the next key or file is asked. Keys may be spelled as URLs.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};

use super::helper;
use super::name::DOCKER_HUB;
use crate::fs::input;
use crate::image::parse_json;
use crate::{Error, ErrorKind, Result, ResultExt};

/// Most bytes of a file with credentials.
const FILE_SIZE: u64 = 4 << 20;

/// What says who one is. Its `Debug` form does not contain the secret.
#[derive(Clone, PartialEq, Eq)]
pub enum Credentials {
    /// A name and a password.
    Password {
        /// The user's name.
        username: String,
        /// The password, or an access token in its place.
        password: String,
    },
    /// A token that is exchanged for others (`identitytoken`).
    RefreshToken(String),
}

impl Credentials {
    /// The value of an `Authorization` header.
    pub(super) fn basic(username: &str, password: &str) -> String {
        format!(
            "Basic {}",
            STANDARD.encode(format!("{username}:{password}"))
        )
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Password { .. } => "Password(..)",
            Self::RefreshToken(_) => "RefreshToken(..)",
        })
    }
}

/// A file with credentials, in the format of `auth.json` and Docker's `config.json`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthFile {
    /// Where it is.
    pub path: PathBuf,
    /// Whether it is an error that it does not exist: the user has named it.
    pub required: bool,
}

/// Looks for the credentials of a repository; `path` is host and repository.
///
/// # Errors
///
/// A required file is missing, one cannot be read or is malformed, or a helper fails.
pub(super) fn find(files: &[AuthFile], path: &str) -> Result<Option<Credentials>> {
    for file in files {
        let failed = || format!("read credentials from {}", file.path.display());
        let bytes = match input::read(&file.path, FILE_SIZE) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == ErrorKind::NotFound && !file.required => continue,
            // Files of other users, as in a home directory that `sudo` kept.
            Err(error) if error.kind() == ErrorKind::PermissionDenied && !file.required => continue,
            Err(error) => return Err(error).context(failed),
        };
        if bytes.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        let found = parse_json(&bytes)
            .map_err(|_| malformed("not JSON"))
            .and_then(|json| in_file(&json, path));
        if let Some(found) = found.context(failed)? {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

/// Refuses a file that the user has named and that is not there.
pub(super) fn check(files: &[AuthFile]) -> Result<()> {
    for file in files.iter().filter(|file| file.required) {
        let opened = input::open(&file.path);
        opened.context(|| format!("read credentials from {}", file.path.display()))?;
    }
    Ok(())
}

fn in_file(json: &Value, path: &str) -> Result<Option<Credentials>> {
    let json = json
        .as_object()
        .ok_or_else(|| malformed("not a JSON object"))?;
    let auths = section(json, "auths");
    let helpers = section(json, "credHelpers");
    for key in keys(path) {
        if let Some(entry) = auths.get(&key).and_then(|entry| entry.as_object())
            && let Some(found) = in_entry(entry).context(|| format!("entry {key}"))?
        {
            return Ok(Some(found));
        }
        if let Some(helper) = helpers.get(&key).and_then(|name| name.as_str())
            && let Some(found) = helper::get(helper, &server(&key))?
        {
            return Ok(Some(found));
        }
    }
    // Docker leaves an empty entry for what its store has.
    let store = json.get("credsStore").and_then(Value::as_str);
    let host = path.split('/').next().unwrap_or(path);
    match store.filter(|store| !store.is_empty() && auths.contains_key(host)) {
        Some(store) => helper::get(store, &server(host)),
        None => Ok(None),
    }
}

/// The members of a section, their keys brought into one form.
fn section<'a>(json: &'a Map<String, Value>, name: &str) -> BTreeMap<String, &'a Value> {
    let section = json.get(name).and_then(Value::as_object);
    section
        .into_iter()
        .flatten()
        .map(|(key, value)| (plain_key(key), value))
        .collect()
}

/// A key without what older programs wrote around it: `https://index.docker.io/v1/` is `docker.io`.
fn plain_key(key: &str) -> String {
    let key = ["https://", "http://"]
        .iter()
        .find_map(|scheme| key.strip_prefix(scheme))
        .unwrap_or(key);
    let key = key.trim_end_matches('/');
    let key = ["/v1", "/v2"]
        .iter()
        .find_map(|version| key.strip_suffix(version))
        .unwrap_or(key);
    let (host, rest) = key.split_at(key.find('/').unwrap_or(key.len()));
    match host {
        "index.docker.io" | "registry-1.docker.io" => format!("{DOCKER_HUB}{rest}"),
        host => format!("{}{rest}", host.to_ascii_lowercase()),
    }
}

/// What helpers call a host.
fn server(host: &str) -> String {
    if host == DOCKER_HUB {
        "https://index.docker.io/v1/".to_owned()
    } else {
        host.to_owned()
    }
}

/// The keys that fit, the most specific first.
fn keys(path: &str) -> impl Iterator<Item = String> + '_ {
    let ends = path.match_indices('/').map(|(place, _)| place).rev();
    std::iter::once(path.len())
        .chain(ends)
        .map(|end| path[..end].to_owned())
}

fn in_entry(entry: &Map<String, Value>) -> Result<Option<Credentials>> {
    let text = |name: &str| entry.get(name).and_then(Value::as_str).unwrap_or_default();
    let token = text("identitytoken");
    if !token.is_empty() {
        return Ok(Some(Credentials::RefreshToken(token.to_owned())));
    }
    let auth = text("auth").trim();
    if auth.is_empty() {
        return Ok(None);
    }
    // The cause would show part of the secret.
    let decoded = STANDARD.decode(auth).ok();
    let decoded = decoded.and_then(|bytes| String::from_utf8(bytes).ok());
    let pair = decoded.as_deref().and_then(|text| text.split_once(':'));
    let (username, password) =
        pair.ok_or_else(|| malformed("its auth is not base64 of user:password"))?;
    let password = password.trim_end_matches('\0');
    if username.is_empty() && password.is_empty() {
        return Ok(None);
    }
    Ok(Some(Credentials::Password {
        username: username.to_owned(),
        password: password.to_owned(),
    }))
}

fn malformed(why: &str) -> Error {
    Error::new(ErrorKind::InvalidData, why)
}

/// The files that podman, skopeo and Docker use, in the order in which they are asked. `named` is `$REGISTRY_AUTH_FILE`.
pub(super) fn usual_files(
    named: Option<&Path>,
    runtime_dir: Option<&Path>,
    config_home: Option<&Path>,
    home: Option<&Path>,
) -> Vec<AuthFile> {
    let mut files = Vec::new();
    let mut add = |path: PathBuf, required| files.push(AuthFile { path, required });
    if let Some(named) = named {
        add(named.to_owned(), true);
    }
    if let Some(runtime_dir) = runtime_dir {
        add(runtime_dir.join("containers/auth.json"), false);
    }
    let config_home = config_home.map(Path::to_owned);
    if let Some(config) = config_home.or_else(|| home.map(|home| home.join(".config"))) {
        add(config.join("containers/auth.json"), false);
    }
    if let Some(home) = home {
        add(home.join(".docker/config.json"), false);
    }
    files
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn password(username: &str, password: &str) -> Credentials {
        Credentials::Password {
            username: username.to_owned(),
            password: password.to_owned(),
        }
    }

    fn auth(text: &str) -> Value {
        json!({"auth": STANDARD.encode(text)})
    }

    #[test]
    fn the_most_specific_key_wins_and_empty_entries_do_not_count() {
        let file = json!({"auths": {
            "x.org": auth("host:1"),
            "x.org/a": auth("a:1:2"),
            "x.org/a/b": {},
            "https://index.docker.io/v1/": auth("hub:1"),
            "http://y.org:5000/v1/": {"username": "u", "password": "p", "auth": STANDARD.encode("y:1")},
            "z.org": {"username": "u", "password": "p"},
            "t.org": {"auth": STANDARD.encode("<token>:x"), "identitytoken": "secret"},
        }});
        let found = |path: &str| in_file(&file, path).unwrap();
        assert_eq!(found("x.org/a/b"), Some(password("a", "1:2")));
        assert_eq!(found("x.org/ab"), Some(password("host", "1")));
        assert_eq!(found("docker.io/library/x"), Some(password("hub", "1")));
        assert_eq!(found("y.org:5000/x"), Some(password("y", "1")));
        assert_eq!(found("y.org/x"), None);
        assert_eq!(found("z.org/x"), None);
        assert_eq!(
            found("t.org/x"),
            Some(Credentials::RefreshToken("secret".to_owned()))
        );
    }

    #[test]
    fn a_malformed_entry_is_an_error_without_the_secret() {
        for secret in ["c2VjcmV0", "%%secret%%"] {
            let file = json!({"auths": {"x.org": {"auth": secret}}});
            let error = in_file(&file, "x.org/a").unwrap_err();
            assert!(!format!("{error:?}").contains("secret"), "{error:?}");
            assert!(!format!("{error:?}").contains(secret), "{error:?}");
        }
        let shown = format!("{:?}", password("user", "secret"));
        assert!(!shown.contains("secret"), "{shown}");
    }

    #[test]
    fn the_files_are_asked_in_turn_and_a_named_one_must_exist() {
        let scratch = tempfile::tempdir().unwrap();
        let write = |name: &str, json: &Value| {
            let path = scratch.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, json.to_string()).unwrap();
            path
        };
        let named = write("named", &json!({"auths": {"x.org": {}}}));
        write(
            "home/.config/containers/auth.json",
            &json!({"auths": {"x.org": auth("a:1")}}),
        );
        write(
            "home/.docker/config.json",
            &json!({"auths": {"x.org": auth("b:1"), "y.org": auth("c:1")}}),
        );
        let home = scratch.path().join("home");
        let files = usual_files(Some(&named), Some(scratch.path()), None, Some(&home));
        assert_eq!(find(&files, "x.org/a").unwrap(), Some(password("a", "1")));
        assert_eq!(find(&files, "y.org/a").unwrap(), Some(password("c", "1")));
        assert_eq!(find(&files, "z.org/a").unwrap(), None);
        let missing = usual_files(Some(Path::new("/nonexistent/auth.json")), None, None, None);
        let error = find(&missing, "x.org/a").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
        assert!(
            error.chain().contains("/nonexistent/auth.json"),
            "{error:?}"
        );
        assert!(check(&missing).is_err());
    }
}
