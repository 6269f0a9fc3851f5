//! Prints what was measured.

use crate::measure::{SIZES, Subject};

pub(crate) fn print(subjects: &[Subject]) {
    println!(
        "\n| stack | 64 B msg/s | 1 KiB | 16 KiB | 64 KiB MB/s (CPU ms/MB) | round trip p50 / p99 | \
         set-up | at 50 ms | idle end |"
    );
    println!("| --- | --- | --- | --- | --- | --- | --- | --- | --- |");
    for subject in subjects {
        print!("| {} ", subject.name);
        let small = subject.rate_of(SIZES[0]);
        cell(small.map(|rate| format!("{:.0}", rate.bytes_per_second / SIZES[0] as f64)));
        for size in &SIZES[1..] {
            cell(subject.rate_of(*size).map(|rate| {
                let millis = rate.cpu_seconds_per_byte * 1e9;
                format!("{:.0} ({millis:.1})", rate.bytes_per_second / 1e6)
            }));
        }
        let times = subject.round_trip();
        cell(times.map(|[p50, p99]| format!("{:.0} / {:.0} µs", p50 * 1e6, p99 * 1e6)));
        cell(subject.set_up().map(|time| format!("{:.1} ms", time * 1e3)));
        cell(
            subject
                .far_set_up()
                .map(|trips| format!("{trips:.1} round trips")),
        );
        cell(
            subject
                .idle_bytes()
                .map(|bytes| format!("{:.1} kB", bytes / 1e3)),
        );
        println!("|");
    }
    for subject in subjects {
        if let Some(failure) = &subject.failure {
            println!("{} was not measured further: {failure}", subject.name);
        }
    }
}

fn cell(figure: Option<String>) {
    print!("| {} ", figure.as_deref().unwrap_or("-"));
}
