//! What refers to an image, and what tags there are.
//!
//! A registry that does not keep referrers has them in an index under a tag that is made of the digest (distribution-spec,
//! "Referrers Tag Schema").

use oci_cas::Digest;
use serde_json::{Map, Value, json};

use super::failure;
use super::http::Request;
use super::pull::{MANIFEST_SIZE, RepositoryReader, manifest};
use super::session::Session;
use crate::image::{Descriptor, INDEX, Index, insert_in_order, parse_json, to_go_json};
use crate::{Error, ErrorKind, Result, ResultExt};

/// Answers that one list may come in.
const PAGE_COUNT: usize = 1000;

/// Most bytes of one of them.
const PAGE_SIZE: u64 = 16 << 20;

/// Most tags of a repository.
const TAG_COUNT: usize = 1_000_000;

/// The tag that stands for the referrers of a digest.
pub(super) fn tag_of(digest: &Digest) -> String {
    format!("{}-{}", digest.algorithm(), digest.encoded())
}

/// The index of referrers with one more, which `manifest` describes; `None` if it is in there.
pub(super) fn with_entry(
    index: Option<&[u8]>,
    entry: &Descriptor,
    manifest: &Value,
) -> Result<Option<Vec<u8>>> {
    let mut index = match index {
        Some(index) => parse_json(index)?,
        None => json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": []}),
    };
    let mut entry_json = entry.raw().clone();
    let config_type = manifest
        .get("config")
        .and_then(|config| config.get("mediaType"));
    let artifact_type = manifest
        .get("artifactType")
        .filter(|it| it.as_str().is_some_and(|text| !text.is_empty()));
    if let Some(artifact_type) = artifact_type.or(config_type) {
        entry_json.insert("artifactType".to_owned(), artifact_type.clone());
    }
    if let Some(annotations) = manifest.get("annotations").filter(|it| it.is_object()) {
        let order: &[&str] = &["mediaType", "digest", "size", "annotations", "artifactType"];
        insert_in_order(&mut entry_json, order, "annotations", annotations.clone());
    }
    let list = index.as_object_mut().map(|index: &mut Map<String, Value>| {
        index.entry("manifests").or_insert_with(|| json!([]))
    });
    let Some(Value::Array(list)) = list else {
        let message = "the index of referrers has no list of manifests";
        return Err(Error::new(ErrorKind::InvalidData, message));
    };
    let digest = entry.digest().to_string();
    if list
        .iter()
        .any(|known| known.get("digest").and_then(Value::as_str) == Some(&digest))
    {
        return Ok(None);
    }
    list.push(Value::Object(entry_json));
    Ok(Some(to_go_json(&index)))
}

impl RepositoryReader {
    /// Lists what refers to a digest: signatures, attestations, bills of material. With `artifact_type`, only what has it.
    ///
    /// # Errors
    ///
    /// As [`RepositoryReader::manifest`]; nothing that refers to it is an empty list.
    pub fn referrers(
        &self,
        digest: &Digest,
        artifact_type: Option<&str>,
    ) -> Result<Vec<Descriptor>> {
        let mut found = self.first(|session| referrers(session, digest))?;
        if let Some(wanted) = artifact_type {
            let own = |entry: &Descriptor| {
                entry.raw().get("artifactType").and_then(Value::as_str) == Some(wanted)
            };
            found.retain(own);
        }
        Ok(found)
    }

    /// Lists the tags of the repository, sorted, each once.
    ///
    /// # Errors
    ///
    /// As [`RepositoryReader::manifest`]; [`ErrorKind::LimitExceeded`] for more than a million.
    pub fn tags(&self) -> Result<Vec<String>> {
        self.first(|session| {
            let mut tags = Vec::new();
            pages(session, "tags/list", &[], |json| {
                let list = json.get("tags").and_then(Value::as_array);
                let list = list.into_iter().flatten().filter_map(Value::as_str);
                tags.extend(list.map(str::to_owned));
                if tags.len() > TAG_COUNT {
                    let message = format!("more than {TAG_COUNT} tags");
                    return Err(Error::new(ErrorKind::LimitExceeded, message));
                }
                Ok(())
            })?;
            tags.sort();
            tags.dedup();
            Ok(tags)
        })
    }
}

fn referrers(session: &Session, digest: &Digest) -> Result<Vec<Descriptor>> {
    let mut found = Vec::new();
    let kept = pages(
        session,
        &format!("referrers/{digest}"),
        &[404, 400],
        |json| {
            let bytes = to_go_json(json);
            found.extend(Index::parse(&bytes, INDEX)?.manifests);
            Ok(())
        },
    )?;
    if kept {
        return Ok(found);
    }
    match manifest(session, &tag_of(digest)) {
        Ok((descriptor, bytes)) => {
            let index = Index::parse(&bytes, descriptor.media_type());
            Ok(index.context(|| "the index of referrers")?.manifests)
        }
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// Reads a list to its last page. Says `false` when the first answer has one of the statuses `absent`.
fn pages(
    session: &Session,
    path: &str,
    absent: &[u16],
    mut page: impl FnMut(&Value) -> Result<()>,
) -> Result<bool> {
    let first = session.url(path)?;
    let mut next = Some(first.clone());
    for _ in 0..PAGE_COUNT {
        let Some(url) = next else {
            return Ok(true);
        };
        let request = Request::get(url.clone());
        let reply = session.ask(&request)?;
        if url == first && absent.contains(&reply.status()) {
            return Ok(false);
        }
        if reply.status() != 200 {
            return Err(failure::of(&request, reply));
        }
        next = match reply.header("link").and_then(next_link) {
            Some(link) => Some(url.join(link)?).filter(|next| *next != url),
            None => None,
        };
        let limit = PAGE_SIZE.max(MANIFEST_SIZE);
        let bytes = reply.read(limit)?;
        page(&parse_json(&bytes).context(|| format!("{url}"))?)?;
    }
    let message = format!("{first} has more than {PAGE_COUNT} pages");
    Err(Error::new(ErrorKind::LimitExceeded, message))
}

/// The target of `<...>; rel="next"`.
fn next_link(header: &str) -> Option<&str> {
    header.split(',').find_map(|link| {
        let (target, parameters) = link.trim().strip_prefix('<')?.split_once('>')?;
        let is_next = parameters.split(';').any(|parameter| {
            let parameter = parameter.trim().replace('"', "");
            parameter.eq_ignore_ascii_case("rel=next")
        });
        is_next.then_some(target)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_page_is_found_in_a_link() {
        assert_eq!(
            next_link("</v2/a?last=b&n=2>; rel=\"next\""),
            Some("/v2/a?last=b&n=2")
        );
        assert_eq!(next_link("<a>; rel=prev, <b>;rel=next"), Some("b"));
        assert_eq!(next_link("<a>"), None);
        assert_eq!(next_link("a; rel=next"), None);
    }

    #[test]
    fn a_referrer_is_listed_once_with_its_type() {
        let digest: Digest = format!("sha256:{}", "ab".repeat(32)).parse().unwrap();
        assert_eq!(tag_of(&digest), format!("sha256-{}", "ab".repeat(32)));
        let entry = Descriptor::new(crate::image::MANIFEST, digest, 7);
        let manifest = json!({"config": {"mediaType": "a/config"}, "annotations": {"k": "v"}});
        let index = with_entry(None, &entry, &manifest).unwrap().unwrap();
        let parsed = Index::parse(&index, INDEX).unwrap();
        assert_eq!(parsed.manifests[0].raw()["artifactType"], "a/config");
        assert_eq!(parsed.manifests[0].annotation("k"), Some("v"));
        assert_eq!(with_entry(Some(&index), &entry, &manifest).unwrap(), None);
        assert!(with_entry(Some(b"[]"), &entry, &manifest).is_err());
    }
}
