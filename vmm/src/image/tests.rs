#![allow(clippy::unwrap_used)]

use super::*;
use crate::testing::{Segment, elf};

const IMAGE: u64 = layout::IMAGE;
/// Rights of program headers.
const RX: u32 = 5;
const RW: u32 = 6;

fn parse(entry: u64, segments: &[Segment<'_>]) -> Result<Image, String> {
    Image::parse(elf(entry, segments)).map_err(|e| e.to_string())
}

#[test]
fn embedded_image_is_sound() {
    let image = Image::embedded().unwrap();
    assert!(
        image
            .regions()
            .iter()
            .all(|r| !(r.rights.write && r.rights.execute))
    );
}

#[test]
fn regions_take_the_rights_of_their_segments() {
    let long = vec![0; 3 << 20];
    let segments = [(IMAGE, RX, &long[..]), (IMAGE + (4 << 20), RW, &[0][..])];
    let image = parse(IMAGE + 16, &segments).unwrap();
    let region = |n, rights| ImageRegion {
        address: IMAGE + n * REGION,
        rights,
    };
    let expected = [
        region(0, Rights::EXECUTE),
        region(1, Rights::EXECUTE),
        region(2, Rights::WRITE),
    ];
    assert_eq!(
        (image.entry(), image.regions()),
        (IMAGE + 16, &expected[..])
    );
}

#[test]
fn images_that_do_not_fit_are_refused() {
    let code = &[0x90; 16][..];
    let good = (IMAGE, RX, code);
    for (why, entry, segments) in [
        ("outside", IMAGE, vec![good, (0x1000, RW, code)]),
        (
            "outside",
            IMAGE,
            vec![good, (layout::HANDLERS_END - 1, RX, code)],
        ),
        ("outside", IMAGE, vec![good, (layout::CODE - 1, RX, code)]),
        ("outside", IMAGE, vec![good, (layout::SHARED, RW, code)]),
        ("paddr", IMAGE, vec![good, (u64::MAX, RW, code)]),
        (
            "different rights",
            IMAGE,
            vec![good, (IMAGE + 0x1000, RW, code)],
        ),
        ("not executable", IMAGE + REGION, vec![good]),
        ("not executable", IMAGE, vec![(IMAGE, RW, code)]),
    ] {
        let error = parse(entry, &segments).unwrap_err();
        assert!(error.contains(why), "{why}: {error}");
    }
}

#[test]
fn cut_off_files_are_refused() {
    let whole = elf(IMAGE, &[(IMAGE, RX, &[0x90])]);
    for len in [0, 1, 24, 31, 57, 63, 64, 119] {
        assert!(Image::parse(&whole[..len]).is_err(), "{len} bytes");
    }
}
