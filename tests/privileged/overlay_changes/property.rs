//! Any edit of an overlay gives the layer of a flat tree.

use std::cell::Cell;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::flat_vs_overlay::{AFTER, BEFORE, FlatAndOverlay};
use super::model::{Step, steps};
use super::view::Mounter;
use crate::machine::Scratch;

pub fn runner(cases: u32) -> TestRunner {
    TestRunner::new(Config {
        cases: std::env::var("PROPTEST_CASES").map_or(cases, |cases| cases.parse().unwrap()),
        max_shrink_iters: 200,
        failure_persistence: None,
        ..Config::default()
    })
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn any_edit_of_an_overlay_gives_the_layer_of_a_flat_tree() {
    let edits = vec(edit(0..15), 0..3);
    // In one second, changes may not show in times.
    let time = prop::sample::select(vec![BEFORE, AFTER]);
    let strategy = (edits, edit(1..15), time);
    let scratch = Scratch::new(&[]);
    let (all, compared) = (Cell::new(0), Cell::new(0));
    let check = |(mut edits, steps, time): (Vec<Vec<Step>>, Vec<Step>, i64)| {
        edits.insert(0, links());
        let found = FlatAndOverlay::new(&scratch, &edits).check(&steps, time, Mounter::Kernel);
        all.set(all.get() + 1);
        compared.set(compared.get() + i32::from(found.is_some()));
        Ok(())
    };
    runner(48).run(&strategy, check).unwrap();
    let (all, compared) = (all.get(), compared.get());
    assert!(
        compared * 5 > all * 4,
        "{compared} of {all} edits are compared"
    );
}

fn edit(size: std::ops::Range<usize>) -> impl Strategy<Value = Vec<Step>> {
    vec(steps(), size).prop_map(|steps| steps.concat())
}

/// Links that random steps are likely to meet.
fn links() -> Vec<Step> {
    let link = |from: &str, to: &str| Step::Link(from.into(), to.into());
    vec![
        Step::Directory("a".into()),
        Step::Directory("a/a".into()),
        Step::Write("b".into(), b'b', 2),
        link("b", "c"),
        link("b", "a/b"),
        Step::Write("a/a/a".into(), b'a', 2),
        link("a/a/a", "a/c"),
    ]
}
