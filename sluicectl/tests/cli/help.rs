//! `--help`, manual pages and completions, which come from one description of the commands and say the same.

use crate::support::*;

/// A command as its help has it: its words behind `sluicectl`, the long options that it takes, and the text.
struct Command {
    words: Vec<String>,
    options: Vec<String>,
    help: String,
}

/// The command with these words, and all below it.
fn commands(words: &[String]) -> Vec<Command> {
    let run = sluicectl(words.iter().map(String::as_str).chain(["--help"]));
    run.done();
    let lines = |heading: &str| {
        let behind = run.stdout.lines().skip_while(move |line| *line != heading).skip(1);
        behind.take_while(|line| line.is_empty() || line.starts_with(' ')).map(str::to_owned).collect::<Vec<_>>()
    };
    let below = lines("Commands:");
    // A description goes on in lines that are indented further.
    let names = below.iter().filter_map(|line| line.strip_prefix("  ")?.split(' ').next());
    let below = names.filter(|name| !name.is_empty() && *name != "help");
    let below: Vec<Command> = below.flat_map(|name| commands(&[words, &[name.to_owned()]].concat())).collect();
    let options = lines("Options:");
    let is_name = |char: &char| char.is_ascii_lowercase() || *char == '-';
    let long = |line: &String| {
        let option = line.trim_start();
        let at = if option.starts_with('-') { option.find("--")? } else { return None };
        Some(option[at..].chars().take_while(is_name).collect::<String>())
    };
    let options = options.iter().filter_map(long).collect();
    let this = Command { words: words.to_vec(), options, help: run.stdout };
    std::iter::once(this).chain(below).collect()
}

fn all_commands() -> Vec<Command> {
    let all = commands(&[]);
    // If the help is laid out in another way, nothing is to be found in it.
    for words in ["status", "watch", "policy dry-run start", "policy import", "policy test", "man"] {
        assert!(all.iter().any(|command| command.words.join(" ") == words), "{words}");
    }
    let has = |words: &str, option: &str| {
        let mut all = all.iter();
        all.any(|command| command.words.join(" ") == words && command.options.iter().any(|other| other == option))
    };
    assert!(has("policy test", "--expect") && has("policy check", "--limit") && has("watch", "--rule"));
    all
}

#[test]
fn every_command_has_an_example_and_the_exit_codes_are_told() {
    for Command { words, help, .. } in all_commands() {
        match &words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
            [] => assert!(help.contains("Exit codes:"), "{help}"),
            _ if help.contains("\nCommands:\n") => {}
            words => assert!(help.contains("Example"), "{words:?}"),
        }
    }
}

#[test]
fn every_command_has_a_manual_page_with_all_its_options() {
    let folder = Folder::new();
    sluicectl(["man", folder.path().to_str().unwrap()]).done();
    for Command { words, options, help } in all_commands() {
        let page = std::iter::once("sluicectl").chain(words.iter().map(String::as_str)).collect::<Vec<_>>().join("-");
        let text = std::fs::read_to_string(folder.path().join(format!("{page}.1")));
        // roff has marks for fonts, a name for the apostrophe, and a backslash before each hyphen.
        let text = text.unwrap_or_else(|why| panic!("{page}: {why}"));
        let text =
            text.replace("\\*(Aq", "'").replace("\\fB", "").replace("\\fR", "").replace("\\fI", "").replace('\\', "");
        for option in options {
            assert!(text.contains(&option), "{page}: {option}");
        }
        let about = help.lines().next().unwrap().trim_end_matches('.');
        assert!(text.contains(about), "{page}: {about}");
    }
    sluicectl(["man", "/nowhere/at/all"]).failed(2, &["/nowhere/at/all"]);
}

#[test]
fn completions_have_every_command_and_option() {
    let all = all_commands();
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let run = sluicectl(["completions", shell]);
        run.done();
        for Command { words, options, .. } in &all {
            let own = words.last().map_or("sluicectl", String::as_str);
            assert!(run.stdout.contains(own), "{shell}: {words:?}");
            for option in options {
                // fish has options without their hyphens.
                let name = option.trim_start_matches('-');
                let is_there = run.stdout.contains(option) || run.stdout.contains(&format!("-l {name}"));
                assert!(is_there, "{shell}: {words:?} {option}");
            }
        }
    }
}
