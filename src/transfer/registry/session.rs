//! Requests to one repository of one registry, with what shows who is asking.
//!
//! The first request goes without credentials. A 401 says what is wanted: a password, or a token from another server. What
//! was obtained is used for all requests after it; a new challenge, as for more rights in the middle of a push or when a
//! token has expired, is answered once.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::Value;
use ureq::http::Method;

use super::agents::Agents;
use super::challenge::Challenge;
use super::credentials::{self, Credentials};
use super::failure;
use super::http::{Http, Payload, Reply, Request};
use super::name::endpoint;
use super::places::Place;
use super::url::{Url, escape};
use crate::image::parse_json;
use crate::{Error, ErrorKind, Result, ResultExt};

/// Most bytes of a server's answer with a token.
const TOKEN_SIZE: u64 = 1 << 20;

/// Challenges that one request may meet.
const CHALLENGE_COUNT: usize = 3;

/// What programs call themselves where tokens are given out.
const CLIENT_ID: &str = "bundle";

/// What is to be done in a repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// Read.
    Pull,
    /// Read and write.
    Push,
}

/// A repository that is being asked.
pub(super) struct Session {
    agents: Arc<Agents>,
    place: Place,
    access: Access,
    /// Repositories that blobs are mounted from, which a token must be good for as well.
    sources: Vec<String>,
    /// Scheme and host, once it is known how the registry is reached.
    base: Mutex<Option<Url>>,
    authorization: Mutex<Option<String>>,
}

impl Session {
    pub(super) fn new(
        agents: Arc<Agents>,
        place: Place,
        access: Access,
        sources: Vec<String>,
    ) -> Self {
        Self {
            agents,
            place,
            access,
            sources,
            base: Mutex::default(),
            authorization: Mutex::default(),
        }
    }

    fn http(&self) -> Http<'_> {
        Http {
            agents: &self.agents,
            insecure: self.place.insecure || self.agents.options().insecure,
        }
    }

    /// The URL of something in the repository: `path` is what follows its name.
    pub(super) fn url(&self, path: &str) -> Result<Url> {
        let mut base = self.base.lock().unwrap_or_else(PoisonError::into_inner);
        let base = match &*base {
            Some(base) => base.clone(),
            None => base.insert(self.find_base()?).clone(),
        };
        base.join(&format!("/v2/{}/{path}", self.place.repository))
    }

    /// Scheme and host: TLS, or, when certificates do not matter, what answers.
    fn find_base(&self) -> Result<Url> {
        let host = endpoint(&self.place.host);
        let secure = Url::new(true, host, "/v2/");
        let http = self.http();
        if !http.insecure {
            return Ok(secure);
        }
        let Err(error) = http.probe(&secure) else {
            return Ok(secure);
        };
        let plain = Url::new(false, host, "/v2/");
        match http.probe(&plain) {
            Ok(()) => Ok(plain),
            // Both fail: what is wrong with TLS is what counts.
            Err(_) => Err(error),
        }
    }

    /// Sends a request, authenticated as the registry asks. A status that is not in `expected` is an error.
    pub(super) fn send(&self, request: &Request<'_>, expected: &[u16]) -> Result<Reply> {
        let reply = self.ask(request)?;
        if expected.contains(&reply.status()) {
            return Ok(reply);
        }
        Err(failure::of(request, reply))
    }

    /// Sends a request, authenticated as the registry asks, and takes any answer.
    pub(super) fn ask(&self, request: &Request<'_>) -> Result<Reply> {
        let mut met: Vec<Vec<Challenge>> = Vec::new();
        loop {
            let authorization = self.authorization().clone();
            // What is sent elsewhere, as an upload may be, goes without.
            let own = request.url.is_same_origin(&self.url("")?);
            let reply = self
                .http()
                .send(request, authorization.as_deref().filter(|_| own))?;
            if reply.status() != 401 || !reply.same_origin || !own {
                return Ok(reply);
            }
            let headers = reply.headers().get_all("www-authenticate");
            let headers = headers.iter().filter_map(|header| header.to_str().ok());
            let challenges = Challenge::parse(headers);
            // The same challenge again: what was obtained is not enough.
            if met.contains(&challenges) || met.len() == CHALLENGE_COUNT {
                return Ok(reply);
            }
            // Another thread may have renewed it meanwhile.
            if *self.authorization() == authorization {
                match self.authorize(&challenges)? {
                    Some(obtained) => *self.authorization() = Some(obtained),
                    None => return Ok(reply),
                }
            }
            met.push(challenges);
        }
    }

    fn authorization(&self) -> MutexGuard<'_, Option<String>> {
        self.authorization
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// What answers one of these challenges; `None` where nothing does.
    fn authorize(&self, challenges: &[Challenge]) -> Result<Option<String>> {
        let options = self.agents.options();
        let credentials = match &options.credentials {
            Some(given) => Some(given.clone()),
            None => credentials::find(&options.auth_files, &self.place.path())?,
        };
        let bearer = challenges
            .iter()
            .find(|challenge| matches!(challenge, Challenge::Bearer { .. }));
        if let Some(Challenge::Bearer {
            realm,
            service,
            scope,
        }) = bearer
        {
            let realm = self.url("")?.join(realm)?;
            let tokens = Tokens {
                http: &self.http(),
                realm: &realm,
                service: service.as_deref(),
                scopes: self.scopes(scope.as_deref()),
            };
            let token = tokens
                .get(credentials.as_ref())
                .context(|| format!("get a token for {}", self.place.path()))?;
            return Ok(Some(format!("Bearer {token}")));
        }
        match (challenges.contains(&Challenge::Basic), credentials) {
            (true, Some(Credentials::Password { username, password })) => {
                Ok(Some(Credentials::basic(&username, &password)))
            }
            _ => Ok(None),
        }
    }

    /// What a token must be good for: what is intended, and what the registry says.
    fn scopes(&self, asked: Option<&str>) -> Vec<String> {
        let actions = match self.access {
            Access::Pull => "pull",
            Access::Push => "pull,push",
        };
        let mut scopes = vec![format!("repository:{}:{actions}", self.place.repository)];
        let sources = self.sources.iter();
        scopes.extend(sources.map(|source| format!("repository:{source}:pull")));
        for scope in asked.into_iter().flat_map(str::split_whitespace) {
            let resource = |scope: &str| {
                scope
                    .rsplit_once(':')
                    .map(|(resource, _)| resource.to_owned())
            };
            let known = scopes
                .iter()
                .position(|known| resource(known) == resource(scope));
            match known {
                // More than we wanted, as a registry may for a push.
                Some(place) if !covers(&scopes[place], scope) => {
                    scope.clone_into(&mut scopes[place]);
                }
                Some(_) => {}
                None => scopes.push(scope.to_owned()),
            }
        }
        scopes
    }
}

/// Whether all actions of a scope are in another one of the same resource.
fn covers(scope: &str, other: &str) -> bool {
    let actions = |scope: &str| -> Vec<String> {
        let actions = scope.rsplit(':').next().unwrap_or_default();
        actions.split(',').map(str::to_owned).collect()
    };
    let known = actions(scope);
    actions(other).iter().all(|action| known.contains(action))
}

/// A server that gives out tokens, and what for.
struct Tokens<'a> {
    http: &'a Http<'a>,
    realm: &'a Url,
    service: Option<&'a str>,
    scopes: Vec<String>,
}

impl Tokens<'_> {
    fn get(&self, credentials: Option<&Credentials>) -> Result<String> {
        if credentials.is_some() && !self.realm.is_secure() && !self.http.insecure {
            let message = format!("credentials are not sent to {} without TLS", self.realm);
            return Err(Error::new(ErrorKind::PermissionDenied, message));
        }
        let reply = match credentials {
            Some(Credentials::RefreshToken(token)) => {
                self.post(&[("grant_type", "refresh_token"), ("refresh_token", token)])?
            }
            Some(Credentials::Password { username, password }) => {
                let basic = Credentials::basic(username, password);
                let reply = self.query(Some(username), Some(&basic))?;
                if matches!(reply.status(), 404 | 405) {
                    self.post(&[
                        ("grant_type", "password"),
                        ("username", username),
                        ("password", password),
                    ])?
                } else {
                    reply
                }
            }
            None => self.query(None, None)?,
        };
        if reply.status() != 200 {
            return Err(failure::of(&Request::get(self.realm.clone()), reply));
        }
        let malformed = || {
            let message = format!("the answer of {} has no token", self.realm);
            Error::new(ErrorKind::InvalidData, message)
        };
        // An answer that is malformed may have a token in it nevertheless: it is not shown.
        let json = parse_json(&reply.read(TOKEN_SIZE)?).map_err(|_| malformed())?;
        let token = ["token", "access_token"].iter().find_map(|name| {
            let token = json.get(*name).and_then(Value::as_str)?;
            (!token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic()))
                .then_some(token)
        });
        token.map(str::to_owned).ok_or_else(malformed)
    }

    fn query(&self, account: Option<&str>, basic: Option<&str>) -> Result<Reply> {
        let mut url = self.realm.clone();
        if let Some(account) = account {
            url = url.with_query("account", &escape(account));
        }
        if let Some(service) = self.service {
            url = url.with_query("service", &escape(service));
        }
        for scope in &self.scopes {
            url = url.with_query("scope", &escape(scope));
        }
        self.http.send(&Request::get(url), basic)
    }

    fn post(&self, fields: &[(&str, &str)]) -> Result<Reply> {
        let scope = self.scopes.join(" ");
        let mut fields = fields.to_vec();
        fields.extend([("client_id", CLIENT_ID), ("scope", &scope)]);
        fields.extend(self.service.map(|service| ("service", service)));
        let pairs = fields
            .iter()
            .map(|(name, value)| format!("{name}={}", escape(value)));
        let body = pairs.collect::<Vec<_>>().join("&");
        let mut request = Request::new(Method::POST, self.realm.clone())
            .header("content-type", "application/x-www-form-urlencoded");
        request.payload = Payload::Bytes(body.as_bytes());
        self.http.send(&request, None)
    }
}
