//! Detached mounts of chains and containers: which directories, whose owners, by which method.

use super::{ChainLowers, MountOptions, SOURCE};
use crate::error::{Error, ErrorKind, Result};
use crate::fs::MapOptions;
use crate::fs::mount::{self, Mount, MountMethod, Overlay, Upper};
use crate::overlay::stack::Stack;
use crate::store::chain::Chain;
use crate::store::container::{Container, ContainerMeta};
use crate::store::patch::PatchId;
use crate::store::place::Store;
use crate::store::reason::Reason;

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
    pub(crate) fn mount_over(&self, chain: &Chain, upper: Upper<'_>) -> Result<Mount> {
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
    pub(crate) fn mount_contents_over(
        &self,
        container: &Container,
        chain: &Chain,
    ) -> Result<Mount> {
        let (_, lowers) = self.mapped_lowers(chain, &container.meta().maps)?;
        let lowers = lowers.below(container.upper()?);
        let options = MountOptions {
            read_only: true,
            ..MountOptions::default()
        };
        let how = self.method_for(container.meta());
        self.mount_overlay(&lowers, None, how, SOURCE, &options)
    }

    /// How a container is mounted: what fuse-overlayfs has written, the kernel would show with its marks.
    pub(crate) fn method_for(&self, container: &ContainerMeta) -> Option<MountMethod> {
        let fuse = container.is_fuse.then_some(MountMethod::Fuse);
        fuse.or(self.options().mount_method)
    }

    pub(crate) fn overlay(
        &self,
        chain: &Chain,
        maps: &MapOptions,
        upper: Option<Upper<'_>>,
        how: Option<MountMethod>,
        source: &str,
        options: &MountOptions,
    ) -> Result<(Mount, PatchId)> {
        let mount = |lowers| self.mount_overlay(lowers, upper, how, source, options);
        let (patch, lowers) = self.mapped_lowers(chain, maps)?;
        match mount(&lowers) {
            // Id-mapped mounts work here, but not as a part of an overlay (before Linux 6.15), or of this kind of one.
            Err(error) if lowers.is_mapped() && may_be_the_map(&error) => {
                let (patch, lowers) = self.remapped_lowers(chain, maps)?;
                Ok((mount(&lowers)?, patch))
            }
            mounted => Ok((mounted?, patch)),
        }
    }

    fn mount_overlay(
        &self,
        lowers: &ChainLowers,
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

    /// The view of a chain without a mount.
    ///
    /// # Errors
    ///
    /// Fails if a part of the chain is missing.
    pub fn view(&self, chain: &Chain) -> Result<Stack> {
        self.mapped_stack(chain, &MapOptions::default())
    }

    /// The view of a chain without a mount, with the owners that maps give it.
    pub(crate) fn mapped_stack(&self, chain: &Chain, maps: &MapOptions) -> Result<Stack> {
        let (_, lowers) = self.mapped_lowers(chain, maps)?;
        Ok(Stack::over(lowers, self.marks()))
    }
}

/// Whether a mount that failed may work without id-mapped lower directories.
fn may_be_the_map(error: &Error) -> bool {
    !matches!(
        error.kind(),
        ErrorKind::PermissionDenied | ErrorKind::LimitExceeded | ErrorKind::Busy
    )
}
