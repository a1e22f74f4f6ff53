//! The manual pages as files. That there is one for each command is tested beside the source.

use crate::support::Scratch;

#[test]
fn pages_are_written_in_place_of_old_ones() {
    let scratch = Scratch::new();
    std::fs::create_dir(scratch.path("man1")).unwrap();
    scratch.write("man1/bundle.1", "old");
    scratch.ok("man man1");
    let page = scratch.read("man1/bundle.1");
    assert!(
        page.contains(".SH \"EXIT STATUS\"") && page.contains("bundle\\-unpack(1)"),
        "{page}"
    );
    let page = scratch.read("man1/bundle-store-ls.1");
    assert!(
        page.contains("\\-\\-json") && page.contains("SEE ALSO"),
        "{page}"
    );
    assert!(!scratch.path("man1/bundle-__complete.1").exists());
    let error = scratch.fails("man none");
    assert!(error.contains("none"), "{error}");
}
