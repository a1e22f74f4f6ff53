//! Detached mounts of chains and containers: which directories, whose owners, by which method.

use std::os::fd::AsFd;

use super::{MountOptions, SOURCE};
use crate::error::{Error, ErrorKind, Result};
use crate::fs::mount::{self, Mount, MountMethod, Overlay, Upper, UserNamespace, id_mapped};
use crate::fs::{Dir, MapOptions};
use crate::store::chain::Chain;
use crate::store::container::{Container, ContainerMeta};
use crate::store::patch::PatchId;
use crate::store::place::Store;
use crate::store::reason::Reason;
use crate::store::stack::Stack;

impl Store {
    /// A detached mount of a chain, read-only.
    ///
    /// # Errors
    ///
    /// [`Reason::MountFailed`] if the kernel refuses.
    pub fn mount_view(&self, chain: &Chain) -> Result<Mount> {
        let options = MountOptions {
            read_only: true,
            ..MountOptions::default()
        };
        let (maps, how) = (MapOptions::default(), self.options().mount_method);
        Ok(self.overlay(chain, &maps, None, how, SOURCE, &options)?.0)
    }

    /// A detached mount of a chain with a directory on top that takes the changes.
    pub(in crate::store) fn mount_over(&self, chain: &Chain, upper: Upper<'_>) -> Result<Mount> {
        let (maps, how) = (MapOptions::default(), self.options().mount_method);
        let options = MountOptions::default();
        let (mount, _) = self.overlay(chain, &maps, Some(upper), how, SOURCE, &options)?;
        Ok(mount)
    }

    /// A detached mount of a container as it is now, for reading, whether it is mounted elsewhere or not: its upper
    /// directory lies on the others as one more that is only read.
    ///
    /// # Errors
    ///
    /// [`Reason::MountFailed`] if the kernel refuses.
    pub fn mount_contents(&self, container: &Container) -> Result<Mount> {
        let chain = self.chain(container.meta().chain.as_ref())?;
        self.mount_contents_over(container, &chain)
    }

    /// The same over another chain.
    pub(in crate::store) fn mount_contents_over(
        &self,
        container: &Container,
        chain: &Chain,
    ) -> Result<Mount> {
        let (_, lowers) = self.mapped_lowers(chain, &container.meta().maps)?;
        let upper = container.upper()?;
        let fds: Vec<_> = std::iter::once(upper.as_fd())
            .chain(lowers.iter().map(AsFd::as_fd))
            .collect();
        let options = MountOptions {
            read_only: true,
            ..MountOptions::default()
        };
        let how = self.method_for(container.meta());
        self.mount_overlay(&fds, None, how, SOURCE, &options)
    }

    /// How a container is mounted: what fuse-overlayfs has written, the kernel would show with its marks.
    pub(super) fn method_for(&self, container: &ContainerMeta) -> Option<MountMethod> {
        let fuse = container.is_fuse.then_some(MountMethod::Fuse);
        fuse.or(self.options().mount_method)
    }

    pub(super) fn overlay(
        &self,
        chain: &Chain,
        maps: &MapOptions,
        upper: Option<Upper<'_>>,
        how: Option<MountMethod>,
        source: &str,
        options: &MountOptions,
    ) -> Result<(Mount, PatchId)> {
        let mount = |lowers: Vec<Lower>| {
            let lowers: Vec<_> = lowers.iter().map(AsFd::as_fd).collect();
            self.mount_overlay(&lowers, upper, how, source, options)
        };
        let (patch, lowers) = self.mapped_lowers(chain, maps)?;
        let is_mapped = lowers.iter().any(|lower| matches!(lower, Lower::Mapped(_)));
        match mount(lowers) {
            // Id-mapped mounts work here, but not as a part of an overlay (before Linux 6.15), or of this kind of one.
            Err(error) if is_mapped && may_be_the_map(&error) => {
                let (patch, lowers) = self.remapped_lowers(chain, maps)?;
                Ok((mount(lowers.into_iter().map(Lower::Dir).collect())?, patch))
            }
            mounted => Ok((mounted?, patch)),
        }
    }

    fn mount_overlay(
        &self,
        lowers: &[std::os::fd::BorrowedFd<'_>],
        upper: Option<Upper<'_>>,
        how: Option<MountMethod>,
        source: &str,
        options: &MountOptions,
    ) -> Result<Mount> {
        let overlay = Overlay {
            lowers,
            upper,
            marks: self.marks(),
            source,
            volatile: options.volatile,
            read_only: options.read_only,
            attributes: options.attributes,
            selinux_context: options.selinux_context.as_deref(),
        };
        let staging = self.sub("staging")?;
        // What a killed process has mounted there keeps its upper directory in use. If it stays, the mount says so.
        let _ = mount::sweep(&staging);
        let mounted = overlay.mount(how, &staging);
        mounted.map_err(|error| Reason::MountFailed.of_error(error))
    }

    /// The directories of a chain, with the owners that maps give them, and the name of the patch that is the first.
    fn mapped_lowers(&self, chain: &Chain, maps: &MapOptions) -> Result<(PatchId, Vec<Lower>)> {
        let plain = chain.patch.clone();
        if maps.uid.0.is_empty() && maps.gid.0.is_empty() {
            let lowers = self.lowers(chain)?.into_iter().map(Lower::Dir);
            return Ok((plain, lowers.collect()));
        }
        if self.options().id_mapped_mounts {
            match self.id_mapped_lowers(chain, maps) {
                Ok(lowers) => return Ok((plain, lowers)),
                // Not for this file system, or not on this kernel.
                Err(error) if error.kind() == ErrorKind::Unsupported => {}
                Err(error) => return Err(error),
            }
        }
        let (patch, lowers) = self.remapped_lowers(chain, maps)?;
        Ok((patch, lowers.into_iter().map(Lower::Dir).collect()))
    }

    /// The view of a chain without a mount.
    ///
    /// # Errors
    ///
    /// Fails if a part of the chain is missing.
    pub fn view(&self, chain: &Chain) -> Result<Stack> {
        self.mapped_stack(chain, &MapOptions::default())
    }

    /// The view of a chain without a mount, with the owners that maps give it.
    pub(in crate::store) fn mapped_stack(&self, chain: &Chain, maps: &MapOptions) -> Result<Stack> {
        let (_, lowers) = self.mapped_lowers(chain, maps)?;
        let dirs = lowers.into_iter().map(|lower| match lower {
            Lower::Dir(dir) => Ok(dir),
            // The mount stays as long as its root is open.
            Lower::Mapped(mount) => mount.root(),
        });
        Ok(Stack::new(dirs.collect::<Result<_>>()?, self.marks()))
    }

    fn id_mapped_lowers(&self, chain: &Chain, maps: &MapOptions) -> Result<Vec<Lower>> {
        let namespace = UserNamespace::with_maps(maps)?;
        let lowers = self.lowers(chain)?;
        let mapped = lowers.iter().map(|dir| id_mapped(dir, &namespace, true));
        mapped.map(|mount| mount.map(Lower::Mapped)).collect()
    }
}

/// A lower directory: open, or a detached mount of one that shows other owners.
#[derive(Debug)]
enum Lower {
    Dir(Dir),
    Mapped(Mount),
}

impl AsFd for Lower {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        match self {
            Self::Dir(dir) => dir.as_fd(),
            Self::Mapped(mount) => mount.as_fd(),
        }
    }
}

/// Whether a mount that failed may work without id-mapped lower directories.
fn may_be_the_map(error: &Error) -> bool {
    !matches!(
        error.kind(),
        ErrorKind::PermissionDenied | ErrorKind::LimitExceeded | ErrorKind::Busy
    )
}
