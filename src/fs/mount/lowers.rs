//! The directories that an overlay only reads: open already, or opened when they are wanted.
//!
//! The two ways by `fsopen` name one after the other to the kernel, which takes a reference of its own, so there is no
//! need for more than one to be open. The other two name all of them at once, and need all of them open.

use std::fmt;
use std::os::fd::{AsFd, BorrowedFd};

use super::super::dir::Dir;
use crate::error::Result;

/// Directories that an overlay only reads, the topmost first.
pub trait Lowers: fmt::Debug {
    /// How many there are.
    fn count(&self) -> usize;

    /// Opens one of them, counted from 0. What it is on stays for as long as `self` does.
    ///
    /// # Errors
    ///
    /// Fails if it cannot be opened.
    fn open(&self, index: usize) -> Result<Lower<'_>>;
}

/// An open directory.
#[derive(Debug)]
pub enum Lower<'a> {
    /// One that was open already.
    Held(BorrowedFd<'a>),
    /// One that was opened now.
    Opened(Dir),
}

impl Lower<'_> {
    /// The directory, open for as long as it is wanted.
    ///
    /// # Errors
    ///
    /// Fails if there are too many open files.
    pub(crate) fn into_dir(self) -> Result<Dir> {
        match self {
            Self::Opened(dir) => Ok(dir),
            Self::Held(fd) => Dir::duplicate(fd),
        }
    }
}

impl AsFd for Lower<'_> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Held(fd) => *fd,
            Self::Opened(dir) => dir.as_fd(),
        }
    }
}

impl<T: AsFd + fmt::Debug> Lowers for &[T] {
    fn count(&self) -> usize {
        self.len()
    }

    fn open(&self, index: usize) -> Result<Lower<'_>> {
        Ok(Lower::Held(self[index].as_fd()))
    }
}

impl<T: AsFd + fmt::Debug, const N: usize> Lowers for [T; N] {
    fn count(&self) -> usize {
        N
    }

    fn open(&self, index: usize) -> Result<Lower<'_>> {
        Ok(Lower::Held(self[index].as_fd()))
    }
}

impl<T: AsFd + fmt::Debug> Lowers for Vec<T> {
    fn count(&self) -> usize {
        self.len()
    }

    fn open(&self, index: usize) -> Result<Lower<'_>> {
        Ok(Lower::Held(self[index].as_fd()))
    }
}

/// Opens all of them.
pub(super) fn open_all(lowers: &dyn Lowers) -> Result<Vec<Lower<'_>>> {
    (0..lowers.count())
        .map(|index| lowers.open(index))
        .collect()
}
