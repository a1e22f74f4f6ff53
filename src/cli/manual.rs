//! `man`

use std::path::PathBuf;

use clap::Command;
use clap_mangen::Man;
use oci_bundle::fs::atomic;
use oci_bundle::{Result, ResultExt};

use super::args::path_parser;
use super::completion::described;
use super::exit::Exit;
use super::ui::Ui;

/// What no command's description says, behind the page of the program.
const PROGRAM: &str = r#".SH "EXIT STATUS"
0 if all went well, 1 after an error, 3 for a command that does not exist. \fBstore check\fR has 2 for findings that it has
repaired, \fBunshare\fR the status of the program that it runs.
.SH ENVIRONMENT
\fBBUNDLE_STORE\fR is the directory of the layer store, \fBSOURCE_DATE_EPOCH\fR the time in new layers and history entries;
\fBNO_COLOR\fR and \fBTERM=dumb\fR switch colours off.
.SH FILES
/var/lib/bundle, ~/.local/share/bundle: the layer store of root and of other users.
"#;

/// writes the manual pages into a directory
///
/// Writes a page for the program and one per command, such as bundle-unpack.1; existing ones are replaced.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// directory, such as ~/.local/share/man/man1
    #[arg(required = true, value_name = "dir", value_parser = path_parser())]
    directory: PathBuf,
}

pub fn run(args: &Args, _: &Ui) -> Result<Exit> {
    for (name, page) in pages()? {
        atomic::replace(&args.directory.join(name), 0o644, &page)?;
    }
    Ok(Exit::Success)
}

/// The pages by the names of their files.
fn pages() -> Result<Vec<(String, Vec<u8>)>> {
    let mut tree = described().disable_help_subcommand(true);
    tree.build();
    let mut pages = Vec::new();
    let mut pending = vec![&tree];
    while let Some(command) = pending.pop() {
        pending.extend(
            command
                .get_subcommands()
                .filter(|command| !command.is_hide_set()),
        );
        pages.push(page(command, &tree)?);
    }
    Ok(pages)
}

fn page(command: &Command, tree: &Command) -> Result<(String, Vec<u8>)> {
    let man = Man::new(command.clone())
        .source(format!("bundle {}", env!("CARGO_PKG_VERSION")))
        .manual("bundle");
    let name = man.get_filename();
    let mut page = Vec::new();
    man.render(&mut page)
        .context(|| format!("write the page {name}"))?;
    if command.get_name() == tree.get_name() {
        page.extend_from_slice(PROGRAM.as_bytes());
    } else {
        page.extend_from_slice(b".SH \"SEE ALSO\"\n\\fBbundle\\fR(1)\n");
    }
    Ok((name, page))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_has_a_page_with_all_its_flags() {
        fn check(command: &Command, name: &str, pages: &[(String, Vec<u8>)], count: &mut usize) {
            let file = format!("{name}.1");
            let (_, page) = pages
                .iter()
                .find(|(name, _)| *name == file)
                .unwrap_or_else(|| panic!("no page {file}"));
            *count += 1;
            let page = String::from_utf8_lossy(page).replace("\\-", "-");
            for arg in command.get_arguments().filter(|arg| !arg.is_hide_set()) {
                if let Some(long) = arg.get_long() {
                    assert!(page.contains(&format!("--{long}")), "{file}: --{long}");
                }
            }
            assert!(page.starts_with(".ie") || page.contains(".TH "), "{page}");
            for command in command.get_subcommands().filter(|c| !c.is_hide_set()) {
                let name = format!("{name}-{}", command.get_name());
                check(command, &name, pages, count);
            }
        }
        let pages = pages().unwrap();
        let mut count = 0;
        check(&described(), "bundle", &pages, &mut count);
        assert_eq!(count, pages.len(), "a page for each command and no other");
    }
}
