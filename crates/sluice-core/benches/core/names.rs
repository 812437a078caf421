//! Long lists of host names: how long they take to compile, how large they are, and how long a lookup takes, beside one
//! read of memory of the same size.

use std::collections::BTreeSet;
use std::hint::black_box;
use std::iter;

use sluice_core::compile::{Conditions, Rule, compile};
use sluice_core::{Action, Direction, Policy, RuleAction, protocol};
use sluice_npi::{Flow, link_type};

use crate::common::packets;
use crate::{figure, measure, processor_time};

/// How many packets take turns: so many that their names are not in the caches when they come again.
const PACKETS: usize = 1 << 16;

/// How many of them are looked up in a round: so few that on a busy machine some rounds are not interrupted.
const IN_A_ROUND: usize = 1 << 10;

/// A question and what was read of it.
type Question = (Vec<u8>, Flow);

pub(crate) fn bench() {
    for count in [1_000, 150_000, 1_000_000] {
        let rng = &mut fastrand::Rng::with_seed(1);
        let names: Vec<String> =
            iter::repeat_with(|| name(rng)).take(count).collect::<BTreeSet<_>>().into_iter().collect();
        let listed = |rng: &mut fastrand::Rng| names[rng.usize(..names.len())].clone();
        let questions: [Vec<Question>; 3] =
            [ask(|| listed(rng)), ask(|| format!("www.{}", listed(rng))), ask(|| format!("www.{}", name(rng)))];
        for (what, conditions) in [
            ("", Conditions::default()),
            (
                ", two protocols and four ranges of ports",
                Conditions {
                    protocols: vec![protocol::TCP, protocol::UDP],
                    destination_ports: vec![53..=53, 80..=80, 443..=443, 8000..=8999],
                    ..Conditions::default()
                },
            ),
        ] {
            let conditions = Conditions { names: names.clone(), ..conditions };
            let rules = [Rule { id: 1, action: RuleAction::Block, conditions }];
            let start = processor_time();
            let table = compile(&rules, Action::Permit).expect("the rules compile");
            let compiled = processor_time() - start;
            let length = table.len();
            let start = processor_time();
            let policy = Policy::new(table).expect("what the compiler makes is valid");
            let validated = processor_time() - start;
            let total: usize = names.iter().map(String::len).sum();
            println!("{} names of {:.1} characters", names.len(), total as f64 / names.len() as f64);
            let row = format!("{count} names{what}");
            let say = |column: &str, value: String| figure("names", &row, column, value);
            say("table", format!("{} KiB", length / 1024));
            say("bytes a name", format!("{:.1} | target 64", length as f64 / names.len() as f64));
            say("compiled in", format!("{:.2} s | target 3", compiled.as_secs_f64()));
            say("validated in", format!("{:.2} s", validated.as_secs_f64()));
            let [listed, below, others] = &questions;
            let mut rounds = [(listed, true), (below, true), (others, false)].map(|(questions, is_listed)| {
                let (policy, mut chunks) = (&policy, questions.chunks(IN_A_ROUND).cycle());
                move || look_up(policy, chunks.next().unwrap_or_default(), is_listed)
            });
            let [listed, below, others] = &mut rounds;
            let mut place = 1;
            let mut read = || place = read_lines(policy.bytes(), place);
            let [listed, below, others, read] = measure(IN_A_ROUND, [listed, below, others, &mut read]);
            say("lookup of a name in the list", format!("{listed} | target 100"));
            say("below one in it", below.to_string());
            say("not in it", others.to_string());
            say("one read of 64 bytes of it", read.to_string());
        }
    }
}

/// A name of the length that those of lists have in the mean.
fn name(rng: &mut fastrand::Rng) -> String {
    let length = rng.usize(6..=20);
    let label: String = iter::repeat_with(|| rng.alphanumeric().to_ascii_lowercase()).take(length).collect();
    format!("{label}.{}", ["com", "net", "org", "io"][rng.usize(..4)])
}

/// DNS questions for names.
fn ask(mut name: impl FnMut() -> String) -> Vec<Question> {
    let question = |name: &str| {
        let mut message = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        for label in name.split('.') {
            message.push(label.len() as u8);
            message.extend(label.as_bytes());
        }
        message.extend([0, 0, 1, 0, 1]);
        let packet = packets::ipv4(protocol::UDP, &packets::udp((49152, 53), &message));
        let flow = packets::whole(link_type::RAW, &packet);
        assert_eq!(usize::from(flow.name_length), name.len() + 1, "{name}");
        (packet, flow)
    };
    iter::repeat_with(|| question(&name())).take(PACKETS).collect()
}

/// Reads lines of the table here and there, each of which says where the next one is: no lookup that has to read one
/// takes less. Answers where it has come to.
fn read_lines(table: &[u8], place: u64) -> u64 {
    let (lines, _) = table.as_chunks::<64>();
    (0..IN_A_ROUND).fold(place, |place, _| {
        let line = ((u128::from(place) * lines.len() as u128) >> 64) as usize;
        (place ^ u64::from(lines[line][0])).wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(31)
    })
}

/// Looks up all questions, one a call. Names of the list are blocked.
fn look_up(policy: &Policy<Vec<u8>>, questions: &[Question], is_listed: bool) {
    for (packet, flow) in questions {
        let decision = black_box(policy).classify(Direction::Inbound, link_type::RAW, packet, flow);
        assert!(!is_listed || black_box(decision).action == Action::Block, "a name of the list is not found");
    }
}
