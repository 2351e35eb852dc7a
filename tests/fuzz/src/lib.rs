//! What the fuzz targets share: running an input, and saying now and then how
//! many of them were useful.

use bpfvisor_tests::targets;
use bpfvisor_vmm::player::Player;
use std::cell::OnceCell;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

static CASES: AtomicU64 = AtomicU64::new(0);
static USEFUL: AtomicU64 = AtomicU64::new(0);

fn tell(useful: bool) {
    let useful = USEFUL.fetch_add(useful.into(), Relaxed) + u64::from(useful);
    let cases = CASES.fetch_add(1, Relaxed) + 1;
    if cases.is_power_of_two() && cases >= 1 << 10 {
        let share = useful as f64 / cases as f64 * 100.0;
        eprintln!("{cases} cases, {share:.1}% useful");
    }
}

/// Writes the seeds of a target into the folder that `SEEDS` names, before
/// libFuzzer reads it.
pub fn write_seeds(name: &str) {
    let Ok(folder) = std::env::var("SEEDS") else {
        return;
    };
    let seeds = match targets::by_name(name) {
        Some(target) => (target.seeds)(),
        // Scripts that load, make maps, run and answer well.
        None => vec![
            [1, 0, 0, 0].repeat(8),
            [0, 1, 2, 3, 4, 5, 6, 7].repeat(16),
        ],
    };
    for (n, seed) in seeds.iter().enumerate() {
        std::fs::write(format!("{folder}/seed-{n}"), seed).expect("a folder to write to");
    }
}

/// Runs a target of `bpfvisor_tests::targets`.
pub fn count(name: &str, data: &[u8]) {
    let target = targets::by_name(name).expect("a target's name");
    tell((target.run)(data));
}

/// Plays the guest by a script. Useful is one whose host got an answer.
pub fn play(data: &[u8]) {
    thread_local! {
        static PLAYER: OnceCell<Player> = const { OnceCell::new() };
    }
    PLAYER.with(|player| {
        let player = player.get_or_init(|| Player::new().expect("memory"));
        tell(player.play(data).answered > 0);
    });
}
