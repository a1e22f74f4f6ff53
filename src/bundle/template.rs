//! The runtime configuration before an image has its say: what umoci starts from, member for member.
//!
//! `Spec::default()` is close, but has other namespaces, masked paths and a read-only root. Everything is therefore set
//! here but the limit of open files, for which the types have no setter; a test compares the whole.

use std::path::PathBuf;

use oci_spec::runtime::{
    Capabilities, Capability, Linux, LinuxCapabilities, LinuxDeviceCgroup, LinuxNamespace,
    LinuxNamespaceType, LinuxResources, Mount, Process, Spec, User,
};

/// Paths hidden from the container, because they tell about or control the host.
const MASKED_PATHS: [&str; 7] = [
    "/proc/kcore",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/sys/firmware",
    "/proc/scsi",
];

/// Paths that the container may read only.
const READONLY_PATHS: [&str; 6] = [
    "/proc/asound",
    "/proc/bus",
    "/proc/fs",
    "/proc/irq",
    "/proc/sys",
    "/proc/sysrq-trigger",
];

/// Destination, type, source and options of the mounts, in the order in which they are made.
const MOUNTS: [(&str, &str, &str, &[&str]); 7] = [
    ("/proc", "proc", "proc", &[]),
    (
        "/dev",
        "tmpfs",
        "tmpfs",
        &["nosuid", "strictatime", "mode=755", "size=65536k"],
    ),
    (
        "/dev/pts",
        "devpts",
        "devpts",
        &[
            "nosuid",
            "noexec",
            "newinstance",
            "ptmxmode=0666",
            "mode=0620",
            "gid=5",
        ],
    ),
    (
        "/dev/shm",
        "tmpfs",
        "shm",
        &["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"],
    ),
    (
        "/dev/mqueue",
        "mqueue",
        "mqueue",
        &["nosuid", "noexec", "nodev"],
    ),
    (
        "/sys",
        "sysfs",
        "sysfs",
        &["nosuid", "noexec", "nodev", "ro"],
    ),
    (
        "/sys/fs/cgroup",
        "cgroup",
        "cgroup",
        &["nosuid", "noexec", "nodev", "relatime", "ro"],
    ),
];

const NAMESPACES: [LinuxNamespaceType; 6] = [
    LinuxNamespaceType::Cgroup,
    LinuxNamespaceType::Pid,
    LinuxNamespaceType::Network,
    LinuxNamespaceType::Ipc,
    LinuxNamespaceType::Uts,
    LinuxNamespaceType::Mount,
];

/// Returns the configuration without root, arguments, environment, user and annotations.
pub(super) fn spec() -> Spec {
    let mut spec = Spec::default();
    spec.set_hostname(Some("umoci-default".to_owned()))
        .set_process(Some(process()))
        .set_mounts(Some(
            MOUNTS
                .iter()
                .map(|&(to, kind, from, options)| mount(to, kind, from, options))
                .collect(),
        ))
        .set_linux(Some(linux()))
        .set_root(None)
        .set_annotations(None);
    spec
}

/// Makes a mount. No options means no member.
pub(super) fn mount(destination: &str, kind: &str, source: &str, options: &[&str]) -> Mount {
    let mut mount = Mount::default();
    mount
        .set_destination(PathBuf::from(destination))
        .set_typ(Some(kind.to_owned()))
        .set_source(Some(PathBuf::from(source)));
    if !options.is_empty() {
        mount.set_options(Some(strings(options)));
    }
    mount
}

/// Makes a new namespace of a type.
pub(super) fn namespace(kind: LinuxNamespaceType) -> LinuxNamespace {
    let mut namespace = LinuxNamespace::default();
    namespace.set_typ(kind);
    namespace
}

fn process() -> Process {
    // Comes with the one limit that we want: `RLIMIT_NOFILE`, 1024 hard and soft.
    let mut process = Process::default();
    process
        .set_terminal(Some(true))
        .set_user(User::default())
        .set_cwd(PathBuf::from("/"))
        .set_capabilities(Some(capabilities()))
        .set_no_new_privileges(Some(true));
    process
}

fn capabilities() -> LinuxCapabilities {
    let set = Capabilities::from([
        Capability::AuditWrite,
        Capability::Kill,
        Capability::NetBindService,
    ]);
    let mut capabilities = LinuxCapabilities::default();
    capabilities
        .set_bounding(Some(set.clone()))
        .set_effective(Some(set.clone()))
        .set_inheritable(Some(set.clone()))
        .set_permitted(Some(set.clone()))
        .set_ambient(Some(set));
    capabilities
}

fn linux() -> Linux {
    let mut deny_all = LinuxDeviceCgroup::default();
    deny_all.set_allow(false).set_access(Some("rwm".to_owned()));
    let mut resources = LinuxResources::default();
    resources.set_devices(Some(vec![deny_all]));

    let mut linux = Linux::default();
    linux
        .set_resources(Some(resources))
        .set_namespaces(Some(NAMESPACES.into_iter().map(namespace).collect()))
        .set_masked_paths(Some(strings(&MASKED_PATHS)))
        .set_readonly_paths(Some(strings(&READONLY_PATHS)));
    linux
}

fn strings(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|&text| text.to_owned()).collect()
}
