//! The contracts of other systems, kept by the store's public face: for programs that were written against them.
//!
//! | module | contract |
//! |---|---|
//! | [`driver`] | containers/storage's graph driver: layers by names of the caller's choice |
//! | [`repository`], [`asset`] | overmount's repository: layers made one on the other, and images of them |
//! | [`rootfs`] | guardian's root file systems out of a plain directory |

pub mod asset;
pub mod driver;
pub mod repository;
pub mod rootfs;
