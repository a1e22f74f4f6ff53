//! `store check`

use oci_bundle::fs::escape_name;
use oci_bundle::store::check::{Action, CheckOptions, CheckReport, Level, Problem};
use oci_bundle::{Result, ops};
use serde_json::{Value, json};

use super::{Common, Exit, Ui};
use crate::cli::log::printable;

/// Differences in one layer that are shown at most as text.
const SHOWN: usize = 20;

/// checks the integrity of the store, and repairs it
///
/// Every file of every layer is compared with what was recorded when it was unpacked, and references between records
/// are checked. With --repair, a damaged layer is unpacked again from its blob if its layout still has it, and derived
/// data is rebuilt; mounted layers and containers are never touched. The exit code is 0 if nothing was wrong, 2 if
/// everything was repaired, and 1 otherwise.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// check everything but file contents
    #[arg(long, conflicts_with = "full")]
    quick: bool,

    /// also check file contents (the default)
    #[arg(long)]
    full: bool,

    /// repair what is damaged
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
