//! What changes in a runtime configuration so that an ordinary user can run it.
//!
//! An unprivileged runtime can neither mount a new sysfs without owning the network namespace, nor set cgroup limits,
//! nor use ids beyond its own. So the network is the host's, `/sys` is bound from the host, and ids and limits go.

use std::path::Path;

use oci_spec::runtime::{LinuxNamespaceType, Mount, Spec};
use rustix::fs::StatVfsMountFlags;

use super::template::{mount, namespace};

/// The host's resolver configuration: with the host's network comes the host's resolver.
const RESOLV_CONF: &str = "/etc/resolv.conf";

/// Flags that a bind mount made in a user namespace must keep, because the kernel locks them there. Read-only is not
/// in the list: such a mount is always read-only.
const LOCKED_FLAGS: [(StatVfsMountFlags, &str); 6] = [
    (StatVfsMountFlags::NODEV, "nodev"),
    (StatVfsMountFlags::NOEXEC, "noexec"),
    (StatVfsMountFlags::NOSUID, "nosuid"),
    (StatVfsMountFlags::NOATIME, "noatime"),
    (StatVfsMountFlags::RELATIME, "relatime"),
    (StatVfsMountFlags::NODIRATIME, "nodiratime"),
];

/// Flags of the mount that a file of the host lies on, as `statvfs` reports them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MountFlags(StatVfsMountFlags);

impl MountFlags {
    /// Takes the `f_flag` member of `struct statvfs` (`ST_NODEV` and its like).
    pub fn from_statvfs(f_flag: u64) -> Self {
        Self(StatVfsMountFlags::from_bits_retain(f_flag))
    }

    /// The options of a mount that keep the flags, always in the same order.
    fn options(self) -> Vec<&'static str> {
        LOCKED_FLAGS
            .into_iter()
            .filter(|&(flag, _)| self.0.contains(flag))
            .map(|(_, option)| option)
            .collect()
    }
}

/// Turns a configuration into one for an ordinary user.
///
/// The network namespace, additional groups, resources, mounts below `/sys` and `uid=` and `gid=` options go; a user
/// namespace, the host's `/sys` and its `/etc/resolv.conf` come, the latter two read-only. `resolv_conf` has the flags
/// of the mount that the host's `/etc/resolv.conf` is on; `None` when the host has no such file, which then is not
/// bound. Id maps are left alone. Doing it twice is doing it once.
///
/// ```
/// use oci_bundle::bundle::to_rootless;
/// use oci_spec::runtime::{LinuxNamespaceType, Spec};
///
/// let mut spec = Spec::default();
/// to_rootless(&mut spec, None);
/// let namespaces = spec.linux().as_ref().and_then(|linux| linux.namespaces().as_ref());
/// let kinds: Vec<_> = namespaces.into_iter().flatten().map(|namespace| namespace.typ()).collect();
/// assert!(kinds.contains(&LinuxNamespaceType::User));
/// assert!(!kinds.contains(&LinuxNamespaceType::Network));
/// ```
pub fn to_rootless(spec: &mut Spec, resolv_conf: Option<MountFlags>) {
    if let Some(process) = spec.process_mut() {
        process.user_mut().set_additional_gids(None);
    }
    if let Some(linux) = spec.linux_mut() {
        linux.set_resources(None);
        let namespaces = linux.namespaces_mut().get_or_insert_default();
        namespaces.retain(|namespace| {
            !matches!(
                namespace.typ(),
                LinuxNamespaceType::Network | LinuxNamespaceType::User
            )
        });
        namespaces.push(namespace(LinuxNamespaceType::User));
    }
    let mounts = spec.mounts_mut().get_or_insert_default();
    // By component, so that a volume `/system` stays.
    mounts.retain(|mount| !mount.destination().starts_with("/sys"));
    mounts.iter_mut().for_each(strip_ids);
    mounts.push(mount(
        "/sys",
        "bind",
        "/sys",
        &["rbind", "nosuid", "noexec", "nodev", "ro"],
    ));
    if let Some(flags) = resolv_conf {
        mounts.retain(|mount| mount.destination() != Path::new(RESOLV_CONF));
        let mut options = flags.options();
        options.extend(["rbind", "ro"]);
        mounts.push(mount(RESOLV_CONF, "bind", RESOLV_CONF, &options));
    }
}

fn strip_ids(mount: &mut Mount) {
    if let Some(options) = mount.options_mut() {
        options.retain(|option| !option.starts_with("gid=") && !option.starts_with("uid="));
    }
}

#[cfg(test)]
mod tests {
    use oci_spec::runtime::User;
    use serde_json::{Value, json};

    use super::super::{spec_version, template};
    use super::*;

    const RDONLY_NODEV_RELATIME: u64 = 0x1 | 0x4 | 0x1000;

    fn spec(volumes: &[&str]) -> Spec {
        let mut spec = template::spec();
        let mut user = User::default();
        user.set_additional_gids(Some(vec![1, 2]));
        spec.process_mut().as_mut().unwrap().set_user(user);
        let volumes = volumes
            .iter()
            .map(|volume| mount(volume, "tmpfs", "none", &["uid=1", "rw", "gid=2"]));
        spec.mounts_mut().as_mut().unwrap().extend(volumes);
        spec
    }

    fn document(spec: &Spec) -> Value {
        spec_version::to_document(spec).unwrap()
    }

    fn destinations(spec: &Spec) -> Vec<&str> {
        spec.mounts()
            .as_ref()
            .unwrap()
            .iter()
            .map(|mount| mount.destination().to_str().unwrap())
            .collect()
    }

    #[test]
    fn network_groups_and_resources_go_and_a_user_namespace_comes() {
        let mut spec = spec(&[]);
        spec.linux_mut()
            .as_mut()
            .unwrap()
            .namespaces_mut()
            .as_mut()
            .unwrap()
            .insert(0, namespace(LinuxNamespaceType::User));
        let before = document(&spec);
        to_rootless(&mut spec, None);
        let after = document(&spec);
        let types: Vec<_> = after["linux"]["namespaces"]
            .as_array()
            .unwrap()
            .iter()
            .map(|namespace| &namespace["type"])
            .collect();
        assert_eq!(types, ["cgroup", "pid", "ipc", "uts", "mount", "user"]);
        assert_eq!(after["process"]["user"], json!({"uid": 0, "gid": 0}));
        assert!(after["linux"].get("resources").is_none());
        for kept in ["maskedPaths", "readonlyPaths"] {
            assert_eq!(before["linux"][kept], after["linux"][kept]);
        }
    }

    #[test]
    fn mounts_are_transformed_even_when_the_host_has_no_resolver_configuration() {
        let mut spec = spec(&["/data", "/sys/kernel", "/system"]);
        to_rootless(&mut spec, None);
        assert_eq!(
            destinations(&spec),
            [
                "/proc",
                "/dev",
                "/dev/pts",
                "/dev/shm",
                "/dev/mqueue",
                "/data",
                "/system",
                "/sys"
            ]
        );
        let mounts = document(&spec)["mounts"].clone();
        assert_eq!(
            mounts[2]["options"],
            json!([
                "nosuid",
                "noexec",
                "newinstance",
                "ptmxmode=0666",
                "mode=0620"
            ])
        );
        assert_eq!(mounts[5]["options"], json!(["rw"]));
        assert_eq!(
            mounts[7],
            json!({"destination": "/sys", "type": "bind", "source": "/sys",
                "options": ["rbind", "nosuid", "noexec", "nodev", "ro"]})
        );
    }

    #[test]
    fn the_resolver_configuration_keeps_the_flags_that_the_kernel_locks() {
        let mut spec = spec(&[]);
        to_rootless(
            &mut spec,
            Some(MountFlags::from_statvfs(RDONLY_NODEV_RELATIME)),
        );
        let mounts = document(&spec)["mounts"].clone();
        assert_eq!(
            mounts.as_array().unwrap().last().unwrap(),
            &json!({"destination": "/etc/resolv.conf", "type": "bind", "source": "/etc/resolv.conf",
                "options": ["nodev", "relatime", "rbind", "ro"]})
        );
        let all = MountFlags::from_statvfs(u64::MAX);
        assert_eq!(
            all.options(),
            [
                "nodev",
                "noexec",
                "nosuid",
                "noatime",
                "relatime",
                "nodiratime"
            ]
        );
        assert!(MountFlags::from_statvfs(0).options().is_empty());
    }

    #[test]
    fn doing_it_twice_is_doing_it_once() {
        let mut spec = spec(&["/data"]);
        let flags = Some(MountFlags::from_statvfs(RDONLY_NODEV_RELATIME));
        to_rootless(&mut spec, flags);
        let once = spec.clone();
        to_rootless(&mut spec, flags);
        assert_eq!(spec, once);
    }
}
