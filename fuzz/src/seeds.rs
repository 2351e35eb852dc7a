//! Writes a target's seeds into a folder.
use bpfvisor_tests::targets;

fn main() -> std::io::Result<()> {
    let mut args = std::env::args().skip(1);
    let (Some(name), Some(folder)) = (args.next(), args.next()) else {
        return Err(std::io::Error::other("usage: seeds TARGET FOLDER"));
    };
    let seeds = match targets::by_name(&name) {
        Some(target) => (target.seeds)(),
        // A script that loads, makes a map, runs and answers well.
        None => vec![[1, 0, 0, 0].repeat(8), [0, 1, 2, 3, 4, 5, 6, 7].repeat(16)],
    };
    for (n, seed) in seeds.iter().enumerate() {
        std::fs::write(format!("{folder}/seed-{n}"), seed)?;
    }
    Ok(())
}
