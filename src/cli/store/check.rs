//! `store check`

use oci_bundle::fs::escape_name;
use oci_bundle::store::check::{Action, CheckOptions, CheckReport, Level, Problem};
use oci_bundle::{Result, ops};
use serde_json::{Value, json};

use super::{Common, Exit, Ui};
use crate::cli::log::printable;

/// Differences in one layer that are shown at most as text.
const SHOWN: usize = 20;

/// checks whether what is in the store is what it should be, and repairs it
///
/// Every file of every layer is compared with what was recorded when it was unpacked, and all records with what they refer
/// to. With --repair, a layer that is not right is unpacked again from its blob, where the layout that it came from still
/// has it, and what is made of layers is made again; what a mount shows is left alone, and containers always. The exit
/// code is 0 if nothing was wrong, 2 if all that was wrong is repaired, and 1 otherwise.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// compare everything but the content of files
    #[arg(long, conflicts_with = "full")]
    quick: bool,

    /// compare the content of files, too (this is the default)
    #[arg(long)]
    full: bool,

    /// put right what is wrong
    #[arg(long)]
    repair: bool,

    #[command(flatten)]
    pub common: Common,
}

pub fn run(args: &Args, ui: &Ui) -> Result<Exit> {
    let store = args.common.open_unleased()?;
    let options = CheckOptions {
        level: if args.quick {
            Level::Quick
        } else {
            Level::Full
        },
        repair: args.repair,
    };
    let report = {
        let progress = ui.progress();
        ops::store::check(&store, options, &progress)?
    };
    args.common.answer(ui, &json(&report), || text(&report))?;
    Ok(match (report.is_clean(), report.is_repaired()) {
        (true, _) => Exit::Success,
        (false, true) => Exit::Repaired,
        (false, false) => Exit::Failure,
    })
}

fn action(action: &Action) -> (&'static str, Option<&str>) {
    match action {
        Action::Repaired => ("repaired", None),
        Action::Removed => ("removed", None),
        Action::Failed(why) => ("failed", Some(why)),
        _ => ("none", None),
    }
}

fn json(report: &CheckReport) -> Value {
    let problems = report.problems.iter().map(|problem| {
        let findings = problem.findings.iter().map(|finding| {
            json!({
                "path": escape_name(&finding.path), "what": finding.what.as_str(),
                "expected": finding.expected, "found": finding.found,
            })
        });
        let (word, why) = action(&problem.action);
        json!({
            "object": {"kind": problem.object.kind(), "name": problem.object.name()},
            "what": problem.what.as_str(),
            "detail": problem.detail,
            "findings": findings.collect::<Value>(),
            "needed_by": problem.needed_by,
            "action": word,
            "action_failed": why,
        })
    });
    json!({
        "clean": report.is_clean(),
        "layers": report.layers,
        "problems": problems.collect::<Value>(),
    })
}

fn text(report: &CheckReport) -> String {
    report.problems.iter().map(lines).collect()
}

fn lines(problem: &Problem) -> String {
    let (object, what) = (&problem.object, problem.what);
    let mut lines = vec![format!("{object}: {what}: {}", problem.detail)];
    let findings = problem.findings.iter().take(SHOWN);
    lines.extend(findings.map(|finding| format!("  {finding}")));
    if problem.findings.len() > SHOWN {
        let more = problem.findings.len() - SHOWN;
        lines.push(format!("  and {more} more (--json shows all)"));
    }
    let users = problem.needed_by.iter();
    lines.extend(users.map(|user| format!("  needed by {user}")));
    match action(&problem.action) {
        ("none", _) => {}
        (_, Some(why)) => lines.push(format!("  not repaired: {why}")),
        (word, None) => lines.push(format!("  {word}")),
    }
    let lines = lines.iter().map(|line| printable(line) + "\n");
    lines.collect()
}
