//! containerd's side of the socket, for tests: messages with containerd's numbers, and the contract of snapshots over them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use oci_bundle::snapshots::{
    Info, Kind, Labels, Mount, SnapshotOptions, SnapshotUsage, Snapshotter,
};
use oci_bundle::store::Reason;
use oci_bundle::{Error, ErrorKind, Result};
use tokio::runtime::Runtime;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};
use tonic_prost::ProstCodec;

pub const SNAPSHOTS: &str = "containerd.services.snapshots.v1.Snapshots";
pub const DIFF: &str = "containerd.services.diff.v1.Diff";
pub const HEALTH: &str = "grpc.health.v1.Health";

#[derive(Clone, PartialEq, prost::Message)]
pub struct Empty {}

#[derive(Clone, PartialEq, prost::Message)]
pub struct Time {
    #[prost(int64, tag = "1")]
    pub seconds: i64,
    #[prost(int32, tag = "2")]
    pub nanos: i32,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct WireMount {
    #[prost(string, tag = "1")]
    pub kind: String,
    #[prost(string, tag = "2")]
    pub source: String,
    #[prost(string, tag = "3")]
    pub target: String,
    #[prost(string, repeated, tag = "4")]
    pub options: Vec<String>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct Prepare {
    #[prost(string, tag = "1")]
    pub snapshotter: String,
    #[prost(string, tag = "2")]
    pub key: String,
    #[prost(string, tag = "3")]
    pub parent: String,
    #[prost(btree_map = "string, string", tag = "4")]
    pub labels: BTreeMap<String, String>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct Mounts {
    #[prost(message, repeated, tag = "1")]
    pub mounts: Vec<WireMount>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct Key {
    #[prost(string, tag = "1")]
    pub snapshotter: String,
    #[prost(string, tag = "2")]
    pub key: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct Commit {
    #[prost(string, tag = "1")]
    pub snapshotter: String,
    #[prost(string, tag = "2")]
    pub name: String,
    #[prost(string, tag = "3")]
    pub key: String,
    #[prost(btree_map = "string, string", tag = "4")]
    pub labels: BTreeMap<String, String>,
    #[prost(string, tag = "5")]
    pub parent: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct WireInfo {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(string, tag = "2")]
    pub parent: String,
    #[prost(int32, tag = "3")]
    pub kind: i32,
    #[prost(message, optional, tag = "4")]
    pub created: Option<Time>,
    #[prost(message, optional, tag = "5")]
    pub updated: Option<Time>,
    #[prost(btree_map = "string, string", tag = "6")]
    pub labels: BTreeMap<String, String>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct Stated {
    #[prost(message, optional, tag = "1")]
    pub info: Option<WireInfo>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct Fields {
    #[prost(string, repeated, tag = "1")]
    pub paths: Vec<String>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct Update {
    #[prost(string, tag = "1")]
    pub snapshotter: String,
    #[prost(message, optional, tag = "2")]
    pub info: Option<WireInfo>,
    #[prost(message, optional, tag = "3")]
    pub fields: Option<Fields>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct List {
    #[prost(string, tag = "1")]
    pub snapshotter: String,
    #[prost(string, repeated, tag = "2")]
    pub filters: Vec<String>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct Listed {
    #[prost(message, repeated, tag = "1")]
    pub info: Vec<WireInfo>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct Usage {
    #[prost(int64, tag = "1")]
    pub size: i64,
    #[prost(int64, tag = "2")]
    pub inodes: i64,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct Service {
    #[prost(string, tag = "1")]
    pub service: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct Health {
    #[prost(int32, tag = "1")]
    pub status: i32,
}

/// A connection to a server.
pub struct Client {
    runtime: Runtime,
    channel: Channel,
}

impl Client {
    pub fn new(socket: &Path) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let address = format!("unix://{}", socket.display());
        let endpoint = Endpoint::from_shared(address).unwrap();
        let channel = {
            let _inside = runtime.enter();
            endpoint.connect_lazy()
        };
        Self { runtime, channel }
    }

    /// Calls a method, and takes its answer.
    pub fn call<Q, R>(&self, service: &str, method: &str, message: Q) -> Result<R, Status>
    where
        Q: prost::Message + Default + 'static,
        R: prost::Message + Default + 'static,
    {
        let path: PathAndQuery = format!("/{service}/{method}").parse().unwrap();
        self.runtime.block_on(async {
            let mut grpc = Grpc::new(self.channel.clone());
            grpc.ready()
                .await
                .map_err(|error| Status::unavailable(error.to_string()))?;
            let codec = ProstCodec::<Q, R>::default();
            let answer = grpc.unary(Request::new(message), path, codec).await?;
            Ok(answer.into_inner())
        })
    }

    pub fn listed(&self, filters: &[&str]) -> Result<Vec<WireInfo>, Status> {
        let path: PathAndQuery = format!("/{SNAPSHOTS}/List").parse().unwrap();
        let message = List {
            snapshotter: "bundle".into(),
            filters: filters.iter().map(|&filter| filter.to_owned()).collect(),
        };
        self.runtime.block_on(async {
            let mut grpc = Grpc::new(self.channel.clone());
            grpc.ready()
                .await
                .map_err(|error| Status::unavailable(error.to_string()))?;
            let codec = ProstCodec::<List, Listed>::default();
            let answer = grpc
                .server_streaming(Request::new(message), path, codec)
                .await?;
            let (mut found, mut parts) = (Vec::new(), answer.into_inner());
            while let Some(part) = parts.message().await? {
                found.extend(part.info);
            }
            Ok(found)
        })
    }

    fn ask<Q, R>(&self, method: &str, message: Q) -> Result<R>
    where
        Q: prost::Message + Default + 'static,
        R: prost::Message + Default + 'static,
    {
        self.call(SNAPSHOTS, method, message)
            .map_err(|status| error_of(&status))
    }

    fn make(
        &self,
        method: &str,
        key: &str,
        parent: Option<&str>,
        options: &SnapshotOptions,
    ) -> Result<Vec<Mount>> {
        let mut labels = options.labels.clone();
        // With it, a server that has the layer says so in containerd's way, which is not that of the contract.
        labels.remove("containerd.io/snapshot.ref");
        let message = Prepare {
            snapshotter: "bundle".into(),
            key: key.into(),
            parent: parent.unwrap_or_default().into(),
            labels,
        };
        Ok(mounts_of(self.ask::<_, Mounts>(method, message)?.mounts))
    }
}

/// A key, as a message.
pub fn key(key: &str) -> Key {
    Key {
        snapshotter: "bundle".into(),
        key: key.into(),
    }
}

pub fn mounts_of(mounts: Vec<WireMount>) -> Vec<Mount> {
    let mounts = mounts.into_iter().map(|mount| Mount {
        kind: mount.kind,
        source: PathBuf::from(mount.source),
        target: PathBuf::from(mount.target),
        options: mount.options.into_iter().map(Into::into).collect(),
    });
    mounts.collect()
}

fn error_of(status: &Status) -> Error {
    let word = status.metadata().get("bundle-reason");
    let word = word.and_then(|word| word.to_str().ok());
    let reason = Reason::ALL.iter().find(|known| Some(known.word()) == word);
    if let Some(reason) = reason {
        return reason.error(status.message());
    }
    let kind = match status.code() {
        Code::NotFound => ErrorKind::NotFound,
        Code::AlreadyExists => ErrorKind::AlreadyExists,
        Code::InvalidArgument => ErrorKind::InvalidInput,
        Code::Unimplemented => ErrorKind::Unsupported,
        Code::ResourceExhausted => ErrorKind::LimitExceeded,
        _ => ErrorKind::Io,
    };
    Error::new(kind, status.message())
}

fn time_of(time: Option<Time>) -> SystemTime {
    let time = time.unwrap_or_default();
    let seconds = Duration::from_secs(time.seconds.try_into().unwrap());
    UNIX_EPOCH + seconds + Duration::from_nanos(time.nanos.try_into().unwrap())
}

fn info_of(info: WireInfo) -> Info {
    Info {
        kind: match info.kind {
            1 => Kind::View,
            2 => Kind::Active,
            3 => Kind::Committed,
            other => panic!("kind {other}"),
        },
        name: info.name,
        parent: (!info.parent.is_empty()).then_some(info.parent),
        labels: info.labels.into_iter().collect::<Labels>(),
        created: time_of(info.created),
        updated: time_of(info.updated),
    }
}

impl Snapshotter for Client {
    fn stat(&self, name: &str) -> Result<Info> {
        let stated: Stated = self.ask("Stat", key(name))?;
        Ok(info_of(stated.info.unwrap()))
    }

    fn update(&self, info: &Info, fields: &[&str]) -> Result<Info> {
        let message = Update {
            snapshotter: "bundle".into(),
            info: Some(WireInfo {
                name: info.name.clone(),
                labels: info.labels.clone(),
                ..WireInfo::default()
            }),
            fields: Some(Fields {
                paths: fields.iter().map(|&field| field.to_owned()).collect(),
            }),
        };
        let stated: Stated = self.ask("Update", message)?;
        Ok(info_of(stated.info.unwrap()))
    }

    fn usage(&self, name: &str) -> Result<SnapshotUsage> {
        let usage: Usage = self.ask("Usage", key(name))?;
        Ok(SnapshotUsage {
            bytes: usage.size.try_into().unwrap(),
            inodes: usage.inodes.try_into().unwrap(),
        })
    }

    fn mounts(&self, name: &str) -> Result<Vec<Mount>> {
        Ok(mounts_of(
            self.ask::<_, Mounts>("Mounts", key(name))?.mounts,
        ))
    }

    fn prepare(
        &self,
        key: &str,
        parent: Option<&str>,
        options: &SnapshotOptions,
    ) -> Result<Vec<Mount>> {
        self.make("Prepare", key, parent, options)
    }

    fn view(
        &self,
        key: &str,
        parent: Option<&str>,
        options: &SnapshotOptions,
    ) -> Result<Vec<Mount>> {
        self.make("View", key, parent, options)
    }

    fn commit(&self, name: &str, key: &str, options: &SnapshotOptions) -> Result<()> {
        let message = Commit {
            snapshotter: "bundle".into(),
            name: name.into(),
            key: key.into(),
            labels: options.labels.clone(),
            parent: options.parent.clone().unwrap_or_default(),
        };
        self.ask::<_, Empty>("Commit", message).map(drop)
    }

    fn remove(&self, name: &str) -> Result<()> {
        self.ask::<_, Empty>("Remove", key(name)).map(drop)
    }

    fn walk(&self, filters: &[&str], visit: &mut dyn FnMut(&Info) -> Result<()>) -> Result<()> {
        let found = self.listed(filters).map_err(|status| error_of(&status))?;
        found.into_iter().try_for_each(|info| visit(&info_of(info)))
    }

    fn cleanup(&self) -> Result<()> {
        self.ask::<_, Empty>("Cleanup", key("")).map(drop)
    }

    fn close(&self) -> Result<()> {
        Ok(())
    }
}
