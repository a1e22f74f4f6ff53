//! What holds for all archives.

use super::concat;
use crate::archive::Limits;
use crate::archive::fixture::{
    END, GNU, Head, USTAR, file, global, gnu_long, pad, pax, read_chunked, sparse_gnu,
};
use filetime::FileTime;
use proptest::prelude::*;

/// An archive of valid and damaged parts.
fn archives() -> impl Strategy<Value = Vec<u8>> {
    let part = prop_oneof![
        (0usize..3000).prop_map(|size| Head::new(b'0', "file").content(&vec![b'd'; size])),
        "[a-z/]{1,200}".prop_map(|path| pax(&[("path", path.as_bytes()), ("mtime", b"-1.25")])),
        "[a-z/]{1,700}".prop_map(|path| gnu_long(b'L', path.as_bytes())),
        Just(global(&[("comment", b"c")])),
        Just(Head::new(b'5', "dir/").block()),
        proptest::collection::vec(0u64..40, 0..30).prop_map(|gaps| {
            let mut at = 0;
            let pieces: Vec<_> = gaps
                .iter()
                .map(|gap| {
                    at += gap * 100 + 7;
                    (at - 7, &b"content"[..])
                })
                .collect();
            sparse_gnu("sparse", at + 100, &pieces)
        }),
    ];
    let archive = proptest::collection::vec(part, 0..8)
        .prop_map(|parts| [parts.concat(), END.to_vec()].concat());
    let damage = proptest::option::of((any::<proptest::sample::Index>(), any::<u8>()));
    let cut = proptest::option::of(any::<proptest::sample::Index>());
    (archive, damage, cut).prop_map(|(mut archive, damage, cut)| {
        if let Some((place, byte)) = damage {
            let place = place.index(archive.len());
            archive[place] = byte;
        }
        if let Some(cut) = cut {
            archive.truncate(cut.index(archive.len()));
        }
        archive
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn any_chunking_gives_the_same_entries(
        archive in archives(),
        sizes in proptest::collection::vec(1usize..2000, 1..10),
    ) {
        let (whole, result) = read_chunked(&archive, &[archive.len().max(1)], Limits::default());
        let (pieces, again) = read_chunked(&archive, &sizes, Limits::default());
        prop_assert_eq!(whole, pieces);
        prop_assert_eq!(result.map_err(|error| error.chain()), again.map_err(|error| error.chain()));
    }

    #[test]
    fn arbitrary_bytes_never_panic(
        flag in any::<u8>(),
        fields in proptest::collection::vec((0usize..500, any::<[u8; 4]>()), 0..6),
        body in proptest::collection::vec(any::<u8>(), 0..2000),
        gnu in any::<bool>(),
    ) {
        let mut head = Head::new(flag, "name").with(|head| {
            head.size = body.len() as i128;
            head.magic = if gnu { GNU } else { USTAR };
        });
        for (offset, bytes) in fields {
            head = head.raw(offset, bytes);
        }
        // The checksum is right, so the fields are looked at.
        let archive = concat(&[&head.block(), &pad(&body), &file("after", b"1")]);
        let _ = read_chunked(&archive, &[777], Limits::default());
        let _ = read_chunked(&body, &[333], Limits::default());
    }

    #[test]
    fn records_survive_a_round_trip(
        path in "[^\0]{1,300}",
        value in proptest::collection::vec(any::<u8>(), 0..300),
        seconds in any::<i32>(),
        nanos in 0u32..1_000_000_000,
    ) {
        let exact = i128::from(seconds) * 1_000_000_000 + i128::from(nanos);
        let sign = if exact < 0 { "-" } else { "" };
        let (whole, part) = (exact.abs() / 1_000_000_000, exact.abs() % 1_000_000_000);
        let time = format!("{sign}{whole}.{part:09}");
        let list = pax(&[("path", path.as_bytes()), ("SCHILY.xattr.user.v", &value), ("mtime", time.as_bytes())]);
        let (items, result) = read_chunked(&concat(&[&list, &Head::new(b'5', "x").block()]), &[512], Limits::default());
        prop_assert!(result.is_ok());
        prop_assert_eq!(&items[0].entry.path, path.as_bytes());
        prop_assert_eq!(&items[0].entry.xattrs[0].1, &value);
        prop_assert_eq!(items[0].entry.mtime, FileTime::from_unix_time(seconds.into(), nanos));
    }
}
