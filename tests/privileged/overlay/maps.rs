//! Owners by id maps: shown by id-mapped mounts, or copied, they are those of the flat unpack.

use super::Trial;
use super::recipe::{Entry, What};
use crate::edit::sh;
use crate::image::layers_of;
use crate::machine::{Bounded, Scratch, said};
use crate::tree::xattrs;

const MAPS: [&str; 4] = ["--uid-map", "0:100000:65536", "--gid-map", "0:200000:65536"];

/// Files, links and directories of many owners, in layers that need a patch and a variant.
fn layers() -> Vec<Vec<Entry>> {
    let owned = |path: &str, what, uid, gid| Entry::new(path, what).with(0o4751, uid, gid);
    vec![
        vec![
            Entry::new("", What::Directory).with(0o711, 7, 8),
            owned("d", What::Directory, 1, 2),
            owned("d/f", What::File(3), 3, 4).xattr("user.x", b"1"),
            owned("d/n", What::CharDevice(1, 3), 5, 6),
            owned("s", What::Symlink("d".into()), 7, 8),
        ],
        vec![
            owned("d/g", What::File(4), 65535, 65535),
            owned("l", What::Link("d/f".into()), 0, 0),
            owned("s/through", What::Fifo, 9, 10),
        ],
        vec![
            Entry::new("d/f", What::Whiteout),
            owned("d/dir", What::Directory, 11, 12),
        ],
    ]
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn owners_by_maps_are_as_in_the_flat_unpack() {
    let scratch = Scratch::new(&[]);
    let trial = Trial::new(&scratch, "maps", &layers());
    let flat = trial.flat(&MAPS);
    for environment in [&[][..], &["BUNDLE_NO_IDMAP=1"]] {
        let over = trial.overlay(environment, &MAPS);
        flat.assert_same(&over, &format!("{environment:?}"));
    }
}

/// The attribute of an ACL with one named user and one named group; its mask is the mode's group.
fn acl(user: u32, group: u32) -> Vec<u8> {
    let entries = [
        (1_u16, 7_u16, u32::MAX),
        (2, 6, user),
        (4, 5, u32::MAX),
        (8, 4, group),
        (16, 7, u32::MAX),
        (32, 1, u32::MAX),
    ];
    let mut value = 2_u32.to_le_bytes().to_vec();
    for (tag, permissions, id) in entries {
        value.extend_from_slice(&tag.to_le_bytes());
        value.extend_from_slice(&permissions.to_le_bytes());
        value.extend_from_slice(&id.to_le_bytes());
    }
    value
}

/// The attribute of a program with a capability: that of a namespace whose root is `root`, or of whoever mounts it.
fn capability(root: Option<u32>) -> Vec<u8> {
    let revision: u32 = if root.is_some() { 3 } else { 2 };
    let words = [revision << 24 | 1, 1 << 13, 0, 0, 0];
    let words = words.into_iter().chain(root);
    words.flat_map(u32::to_le_bytes).collect()
}

const ACL: &str = "system.posix_acl_access";
const DEFAULT_ACL: &str = "system.posix_acl_default";
const CAPABILITY: &str = "security.capability";

fn with_ids_in_attributes() -> Vec<Vec<Entry>> {
    let entry = |path: &str, what| Entry::new(path, what).with(0o771, 0, 0);
    vec![
        vec![
            entry("", What::Directory).xattr(DEFAULT_ACL, &acl(1, 2)),
            entry("d", What::Directory)
                .xattr(ACL, &acl(33, 44))
                .xattr(DEFAULT_ACL, &acl(55, 66)),
            entry("d/f", What::File(3)).xattr(ACL, &acl(0, 65535)),
            entry("ping", What::File(4)).xattr(CAPABILITY, &capability(None)),
        ],
        vec![
            entry("d/g", What::File(5)).xattr(CAPABILITY, &capability(Some(1000))),
            entry("d/h", What::File(6)),
        ],
    ]
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn ids_in_acls_and_capabilities_are_mapped_as_owners_are_in_every_shape() {
    let scratch = Scratch::new(&[]);
    let trial = Trial::new(&scratch, "attributes", &with_ids_in_attributes());
    let flat = trial.flat(&MAPS);
    for environment in [&[][..], &["BUNDLE_NO_IDMAP=1"]] {
        let over = trial.overlay(environment, &MAPS);
        flat.assert_same(&over, &format!("{environment:?}"));
    }
    let rootfs = trial.path("flat/rootfs");
    for (path, name, value) in [
        ("d", ACL, acl(100_033, 200_044)),
        ("d", DEFAULT_ACL, acl(100_055, 200_066)),
        ("d/f", ACL, acl(100_000, 265_535)),
        ("ping", CAPABILITY, capability(Some(100_000))),
        ("d/g", CAPABILITY, capability(Some(101_000))),
    ] {
        let found = xattrs(&rootfs.join(path));
        assert_eq!(found.get(name), Some(&value), "{path} {name}");
    }
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn ids_in_acls_and_capabilities_come_back_into_the_image_from_every_shape() {
    let scratch = Scratch::new(&["setfacl"]);
    let trial = Trial::new(&scratch, "back", &with_ids_in_attributes());
    trial.unpack_flat(&MAPS).succeed();
    let mut layers = Vec::new();
    for environment in [None, Some("BUNDLE_NO_IDMAP="), Some("BUNDLE_NO_IDMAP=1")] {
        let bundle = match environment {
            None => trial.path("flat"),
            Some(environment) => {
                trial.unpack_overlay(&[environment], &MAPS).succeed();
                trial.path("over")
            }
        };
        let diff = scratch.tool(&["diff", "--exit-code", "--image", &trial.image(), "--bundle"]);
        assert_eq!(diff.arg(&bundle).succeed(), "");
        // Everything, and one more name in an ACL, as root of the container would give it.
        let edit = "chmod o+r d d/f ping d/g; setfacl -m u:100007:r d/h; touch -d @1700000000 d d/f ping d/g d/h .";
        sh(&bundle.join("rootfs"), edit);
        let tag = format!("{}:made", trial.path("layout").display());
        scratch
            .tool(&["repack", "--image", &tag])
            .arg(&bundle)
            .succeed();
        layers.push(layers_of(&trial.path("layout"), "made"));
        if environment.is_some() {
            scratch.tool(&["remove-bundle"]).arg(&bundle).succeed();
        }
    }
    assert_eq!(layers[0].len(), 3);
    assert_eq!(layers[0], layers[1], "by id-mapped mounts");
    assert_eq!(layers[0], layers[2], "by copies");
    let made = format!("{}:made", trial.path("layout").display());
    scratch
        .tool(&["unpack", "--image", &made])
        .arg(trial.path("again"))
        .succeed();
    let rootfs = trial.path("again/rootfs");
    for (path, name, value) in [
        ("d", DEFAULT_ACL, acl(55, 66)),
        ("ping", CAPABILITY, capability(None)),
        ("d/g", CAPABILITY, capability(Some(1000))),
    ] {
        let found = xattrs(&rootfs.join(path));
        assert_eq!(found.get(name), Some(&value), "{path} {name}");
    }
    let named = |path: &str| {
        let acl = Bounded::new("getfacl", 10).args(&["-nc", "--omit-header"]);
        acl.arg(rootfs.join(path)).succeed()
    };
    assert!(named("d").contains("\nuser:33:"), "{}", named("d"));
    assert!(named("d/f").contains("\ngroup:65535:"), "{}", named("d/f"));
    assert!(named("d/h").contains("\nuser:7:"), "{}", named("d/h"));
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn an_owner_that_maps_do_not_have_fails_in_both_shapes() {
    let scratch = Scratch::new(&[]);
    let outside = Entry::new("f", What::File(1)).with(0o644, 70_000, 0);
    let trial = Trial::new(&scratch, "outside", &[vec![outside]]);
    assert!(!trial.unpack_flat(&MAPS).output().status.success());
    for environment in [&[][..], &["BUNDLE_NO_IDMAP=1"]] {
        let output = trial.unpack_overlay(environment, &MAPS).output();
        assert!(!output.status.success(), "{environment:?}");
        assert!(said(&output).contains("70000"), "{}", said(&output));
        assert!(!trial.path("over").exists(), "{environment:?}");
    }
}
