//! What the programs that simulate have in common, whatever carries their links.

use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rondevu_durable::sim::{Bag, Fabric, Hunt, Tables, explain, hunt};

/// Does what the command line says, in worlds whose links `F` carries. `name` is what
/// `cargo xtask sim --fabric` calls it.
pub(crate) fn main<F: Fabric>(name: &str) -> ExitCode {
    let hunt = match Hunt::parse(std::env::args().skip(1)) {
        Ok(hunt) => hunt,
        Err(error) => {
            eprintln!("error: {error}");
            return ExitCode::from(2);
        }
    };
    // A panic is a broken law like any other; it is told with its seed.
    std::panic::set_hook(Box::new(|_| {}));
    if let Some(seed) = hunt.replay {
        println!("{}", explain::<F>(seed));
        return ExitCode::SUCCESS;
    }
    let begin = Instant::now();
    let bag = run::<F>(&hunt, begin);
    let seconds = begin.elapsed().as_secs_f64();
    if hunt.tables == Tables::Shown {
        println!("{}", bag.coverage);
        let untouched = bag.coverage.untouched();
        println!("never reached: {}", untouched.len());
        untouched.iter().for_each(|place| println!("  {place}"));
    }
    println!(
        "{} seeds from {} in {seconds:.1} s: {:.1} seeds/s, {:.0} facts of links/s",
        bag.seeds,
        hunt.first,
        bag.seeds as f64 / seconds,
        bag.facts as f64 / seconds,
    );
    if bag.repeated > 0 {
        println!(
            "{} of {} repeated seeds did the same again",
            bag.repeated - bag.differed,
            bag.repeated
        );
    }
    let Some((seed, broken)) = bag.failed else {
        return ExitCode::SUCCESS;
    };
    println!("FAILED seed {seed}: {broken}");
    if hunt.tables == Tables::Shown {
        let story = explain::<F>(seed);
        let tail = story.rfind("\nseed ").unwrap_or(0);
        println!("{}", &story[tail..]);
        println!("all that happens: cargo xtask sim --fabric {name} --replay {seed}");
    }
    ExitCode::FAILURE
}

fn run<F: Fabric>(hunt_for: &Hunt, begin: Instant) -> Bag {
    let end = hunt_for
        .seconds
        .map(|seconds| begin + Duration::from_secs(seconds));
    let found = AtomicBool::new(false);
    let goes_on = || end.is_none_or(|end| Instant::now() < end) && !found.load(Ordering::Relaxed);
    let (goes_on, found) = (&goes_on, &found);
    let mut bag = Bag::default();
    std::thread::scope(|scope| {
        let threads = (0..hunt_for.threads).map(|thread| {
            scope.spawn(move || {
                let bag = hunt::<F>(hunt_for, thread, goes_on);
                found.fetch_or(bag.failed.is_some(), Ordering::Relaxed);
                bag
            })
        });
        let threads: Vec<_> = threads.collect();
        for thread in threads {
            bag.add(thread.join().expect("panics of worlds are caught"));
        }
    });
    bag
}
