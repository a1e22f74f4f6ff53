//! The scripts for shells, as a shell runs them. What they are told by the program is tested beside its source.

use std::process::Command;

use crate::support::Scratch;

/// What bash offers for a line with the cursor at its end.
fn bash(scratch: &Scratch, line: &str) -> Vec<String> {
    // Readline splits words at blanks, and at these characters.
    let script = r#"
        PATH=$BIN:$PATH
        COMP_WORDBREAKS=$' \t\n"\'><=;|&(:'
        source <(bundle completion bash)
        COMP_LINE=$1 COMP_POINT=${#1} COMP_WORDS=()
        rest=$1
        while [[ -n $rest ]]; do
            case $rest in
                ' '*) rest=${rest# } ;;
                [:=]*) COMP_WORDS+=("${rest:0:1}"); rest=${rest:1} ;;
                *) word=${rest%%[ :=]*}; COMP_WORDS+=("$word"); rest=${rest#"$word"} ;;
            esac
        done
        [[ $1 != *[' :='] ]] || COMP_WORDS+=("")
        COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
        $(complete -p bundle | sed 's/.*-F \([^ ]*\).*/\1/') bundle
        printf '%s\n' "${COMPREPLY[@]}"
    "#;
    let binary = env!("CARGO_BIN_EXE_bundle");
    std::os::unix::fs::symlink(binary, scratch.path("bundle")).ok();
    let output = Command::new("bash")
        .args(["-c", script, "bash", line])
        .env("BIN", scratch.path(""))
        .current_dir(scratch.path(""))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.is_empty(), "{line}: {said}");
    let offered = String::from_utf8(output.stdout).unwrap();
    offered
        .lines()
        .filter(|line| !line.is_empty())
        .map(str::to_owned)
        .collect()
}

#[test]
fn bash_completes_commands_flags_and_tags() {
    let scratch = Scratch::new();
    scratch.layout("layout", &["one", "other", "two"]);
    for (line, offered) in [
        ("bundle unp", &["unpack"][..]),
        ("bundle store probe --js", &["--json"]),
        ("bundle stat --image lay", &["layout:"]),
        // Of the word, bash replaces what stands behind the last colon.
        ("bundle stat --image layout:o", &["one", "other"]),
        ("bundle stat --image layout:", &["one", "other", "two"]),
        ("bundle stat --image=layout:tw", &["two"]),
        ("bundle stat -image layout:tw", &["two"]),
        ("bundle tag --image layout:one --qui", &["--quiet"]),
        ("bundle stat --image none:", &[]),
    ] {
        assert_eq!(bash(&scratch, line), offered, "{line}");
    }
}

#[test]
fn every_shell_has_a_script_under_the_name_of_the_program() {
    let scratch = Scratch::new();
    for shell in ["bash", "zsh", "fish"] {
        let script = scratch.ok(&format!("completion {shell}"));
        assert!(script.contains("bundle __complete") || script.contains("__complete --"));
        assert!(
            !script.contains('@') || shell == "bash" || shell == "zsh",
            "{script}"
        );
        assert!(!script.contains("@PROGRAM@") && !script.contains("@FUNCTION@"));
    }
    scratch.fails("completion tcsh");
    scratch.fails("completion");
}
