//! Every parser of what comes from outside, given what nobody would send.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on shall stop; clippy.toml knows only test functions")]

mod bodies;

use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use bodies::{BODIES, Body};

/// Longest that a parser may take for one input. Source: C077.
const TIME_MAX: Duration = Duration::from_secs(1);
/// Longest input, in bytes: more than any parser reads to its end.
const LENGTH_MAX: usize = 4_096;
/// How long each parser is tried in the small dose.
const SMALL_DOSE: Duration = Duration::from_secs(1);
/// And in the full one, in seconds. Source: C077.
const FULL_DOSE: u32 = 600;

/// C077. Breaks when `core/src/value/email.rs`: `local.len() > LOCAL_LENGTH_MAX || local.len() + 1 + domain.len() > LENGTH_MAX` → `local.len() > LOCAL_LENGTH_MAX`.
#[test]
fn no_input_makes_a_parser_fail_hang_or_break_its_word() {
    let is_full_dose = std::env::var("DOORBOOK_DOSE").is_ok_and(|dose| dose == "full");
    for (name, body) in BODIES {
        let kept = kept(name);
        for input in &kept {
            try_one(name, body, input);
        }
        if !is_full_dose {
            println!("{name}: {} inputs", by_chance(name, body, &kept));
        }
    }
    if is_full_dose {
        guided_all();
    }
}

/// All parsers by cargo-fuzz, as many at a time as there are cores.
fn guided_all() {
    // What is fuzzed is what is released: with the same versions of everything.
    std::fs::copy(folder().join("../Cargo.lock"), folder().join("Cargo.lock")).unwrap();
    let waiting = Mutex::new(BODIES.iter());
    let work = || {
        let next = || waiting.lock().unwrap_or_else(PoisonError::into_inner).next();
        while let Some((name, _)) = next() {
            println!("figure: {name}: {} inputs, kept ones and what cargo-fuzz made of them", guided(name));
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, NonZeroUsize::get) {
            scope.spawn(work);
        }
    });
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz")
}

/// Inputs that say what a parser understands, and those that once broke one.
fn kept(name: &str) -> Vec<Vec<u8>> {
    let entries = std::fs::read_dir(folder().join("corpus").join(name)).unwrap();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.into_iter().map(|path| std::fs::read(path).unwrap()).collect()
}

fn try_one(name: &str, body: Body, input: &[u8]) {
    let took = || {
        let started = Instant::now();
        let outcome = catch_unwind(AssertUnwindSafe(|| body(input)));
        assert!(outcome.is_ok(), "{name} fails for \"{}\"", input.escape_ascii());
        started.elapsed()
    };
    // A machine that was busy elsewhere is faster the second time.
    assert!(took() < TIME_MAX || took() < TIME_MAX, "{name} hangs for \"{}\"", input.escape_ascii());
}

/// Changes kept inputs at random; how many were tried.
fn by_chance(name: &str, body: Body, kept: &[Vec<u8>]) -> usize {
    let mut chance = Chance(u64::from_be_bytes(doorbook_core::token::random()));
    let (started, mut count) = (Instant::now(), 0);
    while started.elapsed() < SMALL_DOSE {
        let mut input = chance.of(kept).clone();
        for _ in 0..=chance.below(4) {
            change(&mut input, kept, &mut chance);
        }
        input.truncate(LENGTH_MAX);
        try_one(name, body, &input);
        count += 1;
    }
    count
}

fn change(input: &mut Vec<u8>, kept: &[Vec<u8>], chance: &mut Chance) {
    const PIECES: [&[u8]; 16] = [
        b"\0",
        b"\r\n",
        b"\n\n",
        b".",
        b"@",
        b",",
        b"$",
        b"=",
        b"\"",
        b"{}",
        b"-1",
        b"18446744073709551616",
        b"%00",
        "\u{202e}".as_bytes(),
        "\u{130}".as_bytes(),
        "\u{fb01}\u{301}".as_bytes(),
    ];
    let (from, to) = (chance.below(input.len() + 1), chance.below(input.len() + 1));
    let range = from.min(to)..from.max(to);
    match chance.below(6) {
        0 => input.extend_from_within(range),
        1 => drop(input.drain(range)),
        2 => drop(input.splice(from..from, chance.of(&PIECES).iter().copied())),
        3 => drop(input.splice(range, chance.of(&PIECES).iter().copied())),
        4 => input.extend_from_slice(chance.of(kept).as_slice()),
        _ => {
            let bit = 1 << chance.below(8);
            if let Some(byte) = input.get_mut(from) {
                *byte ^= bit;
            }
        }
    }
}

/// SplitMix64: good enough to choose by, and quick.
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % bound.max(1) as u64).unwrap()
    }

    fn of<'a, T>(&mut self, choices: &'a [T]) -> &'a T {
        &choices[self.below(choices.len())]
    }
}

/// Lets cargo-fuzz find its own way through the parser; how many inputs it tried.
fn guided(name: &str) -> u64 {
    let folder = folder();
    let found = folder.join("found").join(name);
    std::fs::create_dir_all(&found).unwrap();
    let mut command = Command::new("rustup");
    command.args(["run", "nightly", "cargo", "fuzz", "run", "--fuzz-dir"]).arg(&folder);
    // The first folder is written to.
    command.arg(name).args([found, folder.join("corpus").join(name)]).arg("--");
    command.args([format!("-max_total_time={FULL_DOSE}"), format!("-timeout={}", TIME_MAX.as_secs())]);
    command.args([format!("-max_len={LENGTH_MAX}"), "-print_final_stats=1".to_owned()]);
    for ours in ["CARGO", "CARGO_MANIFEST_DIR", "CARGO_TARGET_DIR", "DATABASE_URL", "RUSTUP_TOOLCHAIN"] {
        command.env_remove(ours);
    }
    let output = command.env("SQLX_OFFLINE", "true").current_dir(&folder).output().expect("rustup can be run");
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{name}: {told}\nit needs: rustup toolchain install nightly --profile minimal; cargo install --locked cargo-fuzz"
    );
    let count = told.lines().find_map(|line| line.strip_prefix("stat::number_of_executed_units:")?.trim().parse().ok());
    count.unwrap_or_else(|| panic!("{name}: cargo-fuzz counts nothing: {told}"))
}
