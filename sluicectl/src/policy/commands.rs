//! `sluicectl policy ...`

use std::io::Write;
use std::path::Path;

use anstream::stdout;
use comfy_table::Cell;
use serde_json::{Value, json};
use sluice_control::message::PolicyAnswer;
use sluice_control::settings::TABLE_LIMIT;
use sluice_core::{Policy, RuleAction};

use super::checked::{Checked, check, load as load_table, plural};
use super::diagnostic::Diagnostic;
use super::file::ListRecord;
use super::{dry_run, explain, import};
use crate::args::{CheckArgs, PolicyCommand};
use crate::device::Sluice;
use crate::failure::Failure;
use crate::record::action_name;
use crate::remote;
use crate::table;

pub(crate) fn run(command: PolicyCommand) -> Result<(), Failure> {
    match command {
        PolicyCommand::Check(args) => check_only(&args),
        PolicyCommand::Load { file: Some(file), persist, json, .. } => load(&file, persist, json),
        PolicyCommand::Load { file: None, persist, json, .. } => dry_run::load(persist, json),
        PolicyCommand::DryRun(command) => dry_run::run(&command),
        PolicyCommand::Show { compare, json } => show(compare.as_deref(), json),
        PolicyCommand::Clear { persist, json } => clear(persist, json),
        PolicyCommand::Test(args) => explain::run(&args),
        PolicyCommand::Import(args) => import::run(&args),
    }
}

fn check_only(args: &CheckArgs) -> Result<(), Failure> {
    let mut checked = check(&args.file)?;
    checked.warn_of_shadowed();
    if let Some(table) = &checked.table
        && table.len() > args.limit
    {
        let (length, limit) = (table.len(), args.limit);
        let message = format!(
            "the table of {length} bytes exceeds the limit of {limit} bytes; the registry value {TABLE_LIMIT} of the \
             driver can raise it"
        );
        checked.diagnostics.push(Diagnostic::warning(0..0, message));
    }
    let is_strict_failure = args.strict && checked.diagnostics.warnings() > 0;
    let outcome = if checked.table.is_none() || is_strict_failure { Err(Failure::Reported) } else { Ok(()) };
    if args.json {
        write_json(&report(&checked, args.limit))?;
        return outcome;
    }
    checked.show_all();
    if let Some(table) = &checked.table {
        let name = &checked.source.name;
        for list in &checked.file.lists {
            write_line(&format!("{name}: {}", list.text()))?;
        }
        let rules = plural(checked.file.rules.len(), "rule");
        let default = action_name(checked.file.default.number());
        let percent = table.len() as f64 * 100.0 / args.limit as f64;
        write_line(&format!(
            "{name}: {rules}, default {default}; table of {} bytes, {percent:.1} % of the limit; {}",
            table.len(),
            plural(checked.diagnostics.warnings(), "warning")
        ))?;
    }
    outcome
}

/// The outcome of a check, for a program.
fn report(checked: &Checked, limit: usize) -> Value {
    let shown = checked.diagnostics.shown();
    let records: Vec<_> = shown.iter().map(|diagnostic| diagnostic.record(&checked.source)).collect();
    let list = |list: &ListRecord| {
        let ListRecord { path, taken, left_out, widened, .. } = list;
        json!({ "path": path, "taken": taken, "left_out": left_out, "widened": widened })
    };
    json!({
        "file": checked.source.name,
        "valid": checked.table.is_some(),
        "rules": checked.file.rules.len(),
        "default": action_name(checked.file.default.number()),
        "table_length": checked.table.as_ref().map(Vec::len),
        "limit": limit,
        "lists": checked.file.lists.iter().map(list).collect::<Vec<_>>(),
        "errors": checked.diagnostics.errors(),
        "warnings": checked.diagnostics.warnings(),
        "diagnostics": records,
    })
}

fn load(path: &Path, persist: bool, json: bool) -> Result<(), Failure> {
    let (file, table) = check(path)?.require()?;
    let sluice = Sluice::open_to_change()?;
    remote::warn_before_loading(|| Ok(table.clone()));
    let answer = sluice.load_policy(&table, persist)?;
    if json {
        return write_json(&loaded_record(&answer, file.rules.len(), persist));
    }
    let persisted = if persist { ", persisted" } else { "" };
    write_line(&format!(
        "policy loaded: generation {}, {}, default {}{persisted}",
        answer.generation,
        plural(file.rules.len(), "rule"),
        action_name(file.default.number())
    ))
}

/// A policy that was loaded, for a program.
pub(super) fn loaded_record(answer: &PolicyAnswer, rules: usize, persisted: bool) -> Value {
    let PolicyAnswer { generation, table_length, .. } = answer;
    json!({ "generation": generation, "rules": rules, "table_length": table_length, "persisted": persisted })
}

/// That the policy was cleared, for a program.
fn cleared_record(answer: &PolicyAnswer, persisted: bool) -> Value {
    json!({ "generation": answer.generation, "persisted": persisted })
}

fn clear(persist: bool, json: bool) -> Result<(), Failure> {
    let answer = Sluice::open_to_change()?.clear_policy(persist)?;
    if json {
        return write_json(&cleared_record(&answer, persist));
    }
    let persisted = if persist { ", and the persisted policy deleted" } else { "" };
    write_line(&format!("policy cleared: generation {}{persisted}", answer.generation))
}

fn show(compare: Option<&Path>, json: bool) -> Result<(), Failure> {
    let expected = compare.map(load_table).transpose()?;
    let (PolicyAnswer { generation, .. }, table) = Sluice::open()?.read_policy()?;
    let same = expected.map(|expected| expected == table);
    let bad = |error| Failure::State(format!("this sluicectl cannot read the policy of the driver: {error}"));
    let policy = if table.is_empty() { None } else { Some(Policy::new(&table).map_err(bad)?) };
    if json {
        write_json(&in_force_record(generation, policy.as_ref(), same))?;
    } else {
        write_line(&in_force_lines(generation, policy.as_ref()).join("\n"))?;
    }
    match (same, compare) {
        (Some(false), Some(path)) => {
            Err(Failure::State(format!("the policy in force is not the one in {}", path.display())))
        }
        _ => Ok(()),
    }
}

/// The policy in force, for a program. Without a policy, the members that describe one are null.
fn in_force_record<B: AsRef<[u8]>>(generation: u64, policy: Option<&Policy<B>>, same: Option<bool>) -> Value {
    let rule = |(id, action): (u32, RuleAction)| json!({ "id": id, "action": action.name() });
    json!({
        "generation": generation,
        "rules": policy.map(Policy::rule_count),
        "default": policy.map(|policy| action_name(policy.default_action().number())),
        "table_length": policy.map_or(0, |policy| policy.bytes().len()),
        "same": same,
        "rule_list": policy.map(|policy| policy.rules().map(rule).collect::<Vec<_>>()),
    })
}

/// The policy in force, for people. The table in the driver has no descriptions.
fn in_force_lines<B: AsRef<[u8]>>(generation: u64, policy: Option<&Policy<B>>) -> Vec<String> {
    let Some(policy) = policy else { return vec![format!("generation {generation}: no policy is loaded")] };
    let default = action_name(policy.default_action().number());
    let (rules, length) = (plural(policy.rule_count() as usize, "rule"), policy.bytes().len());
    let mut text = vec![format!("generation {generation}: {rules}, default {default}; table of {length} bytes")];
    let mut table = table::table(&["Rule", "Action"]);
    for (id, action) in policy.rules() {
        table.add_row(vec![Cell::new(id), table::action(action.name())]);
    }
    table.add_row(vec![Cell::new("default"), table::action(default)]);
    table::align_right(&mut table, &[0]);
    text.push(String::new());
    text.extend(table::lines(&table));
    text
}

pub(super) fn write_json(value: &Value) -> Result<(), Failure> {
    write_line(&value.to_string())
}

pub(super) fn write_line(line: &str) -> Result<(), Failure> {
    Ok(writeln!(stdout(), "{line}")?)
}

#[cfg(test)]
mod tests {
    use sluice_control::message::header_of;
    use sluice_core::Action;
    use sluice_core::compile::{Conditions, Rule, compile};

    use super::*;
    use crate::documentation::assert_documented;

    fn policy() -> Policy<Vec<u8>> {
        let rule = |id, action| Rule { id, action, conditions: Conditions::default() };
        Policy::new(compile(&[rule(20, RuleAction::Block), rule(3, RuleAction::Permit)], Action::Block).unwrap())
            .unwrap()
    }

    #[test]
    fn the_rules_in_force_are_shown_in_their_order() {
        let policy = policy();
        let text = in_force_lines(4, Some(&policy)).join("\n");
        let text = anstream::adapter::strip_str(&text).to_string();
        let words: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
        let length = policy.bytes().len();
        assert_eq!(
            text.lines().next().unwrap(),
            format!("generation 4: 2 rules, default block; table of {length} bytes")
        );
        assert_eq!(words[2..], [["Rule", "Action"], ["20", "block"], ["3", "permit"], ["default", "block"]]);
        let none: Option<&Policy<Vec<u8>>> = None;
        assert_eq!(in_force_lines(0, none), ["generation 0: no policy is loaded"]);
    }

    #[test]
    fn programs_are_told_what_was_loaded_and_cleared() {
        let answer = PolicyAnswer { header: header_of::<PolicyAnswer>(), table_length: 896, generation: 5 };
        let loaded = loaded_record(&answer, 2, true);
        assert_documented("policy load", &loaded);
        assert_eq!(loaded, json!({"generation": 5, "rules": 2, "table_length": 896, "persisted": true}));
        let cleared = cleared_record(&answer, false);
        assert_documented("policy clear", &cleared);
        assert_eq!(cleared, json!({"generation": 5, "persisted": false}));
    }

    #[test]
    fn programs_get_the_rules_in_force_as_well() {
        let policy = policy();
        assert_documented("policy show", &in_force_record(4, Some(&policy), Some(true)));
        assert_eq!(
            in_force_record(4, Some(&policy), Some(true)),
            json!({
                "generation": 4, "rules": 2, "default": "block", "table_length": policy.bytes().len(), "same": true,
                "rule_list": [{"id": 20, "action": "block"}, {"id": 3, "action": "permit"}],
            })
        );
        let none: Option<&Policy<Vec<u8>>> = None;
        assert_eq!(
            in_force_record(0, none, None),
            json!({"generation": 0, "rules": null, "default": null, "table_length": 0, "same": null, "rule_list": null})
        );
    }
}
