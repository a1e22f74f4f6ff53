//! A repository: layers made one on the other, images of them, mounted and carried away. It is a way to speak of a
//! [`Store`](crate::store::Store) and a content store for the blobs, and keeps nothing of its own.
//!
//! | asked for | here |
//! |---|---|
//! | a directory to work in, on a layer | [`Repository::create_layer`]: a container |
//! | a layer of a tar file or a directory | [`Repository::create_layer_from_asset`], [`Repository::unpack_layer`] |
//! | a layer that is there, on another one | [`Repository::add_layer`] |
//! | what a layer is, its content as a stream, those below it | [`RepositoryLayer`] |
//! | layers as one file system | [`Image`], [`RepositoryMount`] |
//! | images from archives and to archives | [`Repository::import`], [`Repository::export`] |
//! | names of images | [`Store::tag`](crate::store::Store::tag), [`Store::untag`](crate::store::Store::untag), [`Store::image`](crate::store::Store::image) |
//!
//! Lists of layers are [`BottomFirst`] here, as in an image; the store's [`Chain::layers`](crate::store::Chain) is the other way
//! round, as overlayfs wants it.
//!
//! A layer that no image and no container is on is garbage: [`Store::gc`](crate::store::Store::gc) takes it. The blobs are kept
//! by whoever keeps the content store.
//!
//! | file | what |
//! |---|---|
//! | `create.rs` | [`Repository`]: layers come and go |
//! | `layer.rs` | [`RepositoryLayer`] |
//! | `image.rs` | [`Image`] |
//! | `mount.rs` | [`RepositoryMount`] |
//! | `archives.rs` | images in and out |
//! | `blobs.rs` | layers from the content store |

mod archives;
mod blobs;
mod create;
mod image;
mod layer;
mod mount;

pub use create::{Created, Parent, Repository};
pub use image::Image;
pub use layer::{BottomFirst, RepositoryLayer};
pub use mount::RepositoryMount;
