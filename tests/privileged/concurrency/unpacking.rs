//! Many processes unpack at once into a store that none of them finds.

use std::fs;

use super::{CROWD, assert_all_succeed, start, unpack};
use crate::crash::crash_fs::{Ground, addition, base, plain, reaching};
use crate::image::Image;
use crate::machine::names_in;
use crate::tree::Tree;

/// Unpacks each image into some of many bundles, all at once, and returns the points that were passed by any of the
/// processes.
#[track_caller]
fn unpack_at_once(images: Vec<Image>) -> (Ground, Vec<String>) {
    let ground = Ground::new();
    let mut expected = Vec::new();
    for (number, image) in images.into_iter().enumerate() {
        let layout = format!("image{number}");
        image.write(&ground.path(&layout));
        expected.push(ground.flat(&layout));
    }
    let log = format!("log:{}", ground.path("points").display());
    let mut children = Vec::new();
    for number in 0..CROWD {
        let image = format!("image{}:latest", number % expected.len());
        let bundle = format!("b{number}");
        let log = [("BUNDLE_FAULT", log.as_str())];
        children.push(start(&ground, &unpack(&image, &bundle), &log));
    }
    assert_all_succeed(children);
    for number in 0..CROWD {
        let rootfs = ground.path(&format!("b{number}/rootfs"));
        Tree::read(&rootfs).assert_same(&expected[number % expected.len()], "one of many");
    }
    ground.assert_sound();
    let points = fs::read_to_string(ground.path("points")).unwrap();
    let points = points.lines().map(str::to_owned).collect();
    (ground, points)
}

fn count(points: &[String], name: &str) -> usize {
    points.iter().filter(|point| *point == name).count()
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn many_unpack_one_image_and_each_layer_is_unpacked_once() {
    for round in 0..3 {
        let (ground, points) = unpack_at_once(vec![reaching()]);
        assert_eq!(count(&points, "layer-staged"), 3, "in round {round}");
        assert_eq!(count(&points, "layer-variant"), 1, "in round {round}");
        ground.gc();
        assert_eq!(ground.store().containers().unwrap().len(), CROWD);
        assert_eq!(names_in(&ground.path("store/mounts")).len(), CROWD);
    }
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn images_that_share_layers_in_another_order_are_unpacked_at_once() {
    for round in 0..3 {
        let other = Image::new().layer(addition()).layer(base());
        let (_ground, points) = unpack_at_once(vec![plain(), other]);
        assert_eq!(count(&points, "layer-staged"), 2, "in round {round}");
    }
}
