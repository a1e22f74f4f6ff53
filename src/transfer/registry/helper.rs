//! Programs that keep credentials: `docker-credential-NAME get`, the server's name on its standard input.

use std::io::{Read as _, Write as _};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::credentials::Credentials;
use crate::image::parse_json;
use crate::{Error, ErrorKind, Result, ResultExt};

/// How long a helper may take. It may ask its user.
const TIME: Duration = Duration::from_secs(60);

/// How often it is looked at meanwhile.
const PAUSE: Duration = Duration::from_millis(5);

/// Most bytes of its answer: what a pipe holds, so that nothing need be read before it has ended.
const ANSWER_SIZE: u64 = 64 << 10;

/// What a helper says when it has nothing.
const NOT_FOUND: &str = "credentials not found";

/// The user's name that stands for a token.
const TOKEN_USER: &str = "<token>";

/// Asks a helper for the credentials of a server; `None` if it has none.
pub(super) fn get(name: &str, server: &str) -> Result<Option<Credentials>> {
    let known = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    if name.is_empty() || !name.bytes().all(known) {
        let message = format!("credential helper {name:?} is not a name of a program");
        return Err(Error::new(ErrorKind::InvalidData, message));
    }
    let program = format!("docker-credential-{name}");
    ask(&mut Command::new(&program), server).context(|| format!("ask {program} for {server}"))
}

fn ask(command: &mut Command, server: &str) -> Result<Option<Credentials>> {
    let mut child = command
        .arg("get")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .context(|| "start it")?;
    if let Some(mut input) = child.stdin.take() {
        // A helper that does not read has its own idea of what is asked.
        let _ = input.write_all(server.as_bytes());
    }
    let success = wait(&mut child)?;
    let mut answer = Vec::new();
    if let Some(output) = child.stdout.take() {
        let mut output = output.take(ANSWER_SIZE);
        output
            .read_to_end(&mut answer)
            .context(|| "read its answer")?;
    }
    if !success {
        // What it printed may be anything, a secret too.
        let nothing = String::from_utf8_lossy(&answer).contains(NOT_FOUND);
        let failed = || Error::new(ErrorKind::Io, "it failed");
        return if nothing { Ok(None) } else { Err(failed()) };
    }
    let malformed = || Error::new(ErrorKind::InvalidData, "its answer is malformed");
    let json = parse_json(&answer).map_err(|_| malformed())?;
    let text = |key: &str| json.get(key).and_then(Value::as_str);
    let (username, secret) = text("Username").zip(text("Secret")).ok_or_else(malformed)?;
    Ok(match username {
        _ if secret.is_empty() => None,
        TOKEN_USER => Some(Credentials::RefreshToken(secret.to_owned())),
        username => Some(Credentials::Password {
            username: username.to_owned(),
            password: secret.to_owned(),
        }),
    })
}

/// Waits for the helper, and ends it when it takes too long. Says whether it was successful.
fn wait(child: &mut Child) -> Result<bool> {
    let end = Instant::now() + TIME;
    loop {
        if let Some(status) = child.try_wait().context(|| "wait for it")? {
            return Ok(status.success());
        }
        if Instant::now() >= end {
            // It may have ended by itself this moment.
            let _ = child.kill();
            let _ = child.wait();
            let message = format!("it did not answer in {} s", TIME.as_secs());
            return Err(Error::new(ErrorKind::Io, message));
        }
        std::thread::sleep(PAUSE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Result<Option<Credentials>> {
        ask(Command::new("sh").args(["-c", script]), "x.org")
    }

    #[test]
    fn a_helper_is_asked_on_its_standard_input() {
        let script = r#"read -r server; printf '{"ServerURL":"%s","Username":"u","Secret":"%s"}' "$server" "$server""#;
        let expected = Credentials::Password {
            username: "u".to_owned(),
            password: "x.org".to_owned(),
        };
        assert_eq!(shell(script).unwrap(), Some(expected));
        let token = r#"echo '{"Username":"<token>","Secret":"s"}'"#;
        let expected = Credentials::RefreshToken("s".to_owned());
        assert_eq!(shell(token).unwrap(), Some(expected));
    }

    #[test]
    fn a_helper_may_have_nothing_or_fail() {
        let nothing = "echo credentials not found in native keychain; exit 1";
        assert_eq!(shell(nothing).unwrap(), None);
        for script in ["echo secret; exit 1", "echo secret", "echo '{}'"] {
            let error = shell(script).unwrap_err();
            assert!(!format!("{error:?}").contains("secret"), "{error:?}");
        }
        assert!(get("../sh", "x.org").is_err());
        assert!(get("that-is-not-installed", "x.org").is_err());
    }
}
