//! `sluicectl policy ...`

use std::{
    io::{self, Write},
    path::Path,
};

use serde_json::json;
use sluice_control::message::PolicyAnswer;
use sluice_core::Policy;

use super::{Checked, Severity, check, explain, load as load_table, plural};
use crate::{args::PolicyCommand, device::Sluice, failure::Failure, record::action_name};

pub(crate) fn run(command: PolicyCommand) -> Result<(), Failure> {
    match command {
        PolicyCommand::Check { file, json } => check_only(&file, json),
        PolicyCommand::Load { file, persist, json } => load(&file, persist, json),
        PolicyCommand::Show { compare, json } => show(compare.as_deref(), json),
        PolicyCommand::Clear { persist, json } => clear(persist, json),
        PolicyCommand::Test(args) => explain::run(&args),
    }
}

fn check_only(path: &Path, json: bool) -> Result<(), Failure> {
    let checked = check(path)?;
    if json {
        write_json(&report(&checked))?;
        return if checked.table.is_some() { Ok(()) } else { Err(Failure::Reported) };
    }
    let path = checked.path.clone();
    let warnings = checked.diagnostics.iter().filter(|found| found.severity == Severity::Warning).count();
    let (file, table) = checked.require()?;
    let rules = plural(file.rules.len(), "rule");
    let default = action_name(file.default.number());
    write_line(&format!(
        "{path}: {rules}, default {default}; table of {} bytes; {}",
        table.len(),
        plural(warnings, "warning")
    ))
}

/// What was found in a policy file, for a program.
fn report(checked: &Checked) -> serde_json::Value {
    let records: Vec<_> = checked.diagnostics.iter().map(|diagnostic| diagnostic.record(&checked.source)).collect();
    json!({
        "file": checked.path,
        "valid": checked.table.is_some(),
        "rules": checked.file.rules.len(),
        "default": action_name(checked.file.default.number()),
        "table_length": checked.table.as_ref().map(Vec::len),
        "diagnostics": records,
    })
}

fn load(path: &Path, persist: bool, json: bool) -> Result<(), Failure> {
    let (file, table) = check(path)?.require()?;
    let answer = Sluice::open_to_change()?.load_policy(&table, persist)?;
    if json {
        return write_json(&json!({
            "generation": answer.generation,
            "rules": file.rules.len(),
            "table_length": answer.table_length,
            "persisted": persist,
        }));
    }
    let kept = if persist { ", kept across restarts" } else { "" };
    write_line(&format!(
        "policy loaded: generation {}, {}, default {}{kept}",
        answer.generation,
        plural(file.rules.len(), "rule"),
        action_name(file.default.number())
    ))
}

fn clear(persist: bool, json: bool) -> Result<(), Failure> {
    let answer = Sluice::open_to_change()?.clear_policy(persist)?;
    if json {
        return write_json(&json!({ "generation": answer.generation, "persisted": persist }));
    }
    let kept = if persist { ", also across restarts" } else { "" };
    write_line(&format!("policy cleared: generation {}{kept}", answer.generation))
}

fn show(compare: Option<&Path>, json: bool) -> Result<(), Failure> {
    let expected = compare.map(load_table).transpose()?;
    let (PolicyAnswer { generation, .. }, table) = Sluice::open()?.read_policy()?;
    let same = expected.map(|expected| expected == table);
    let bad = |error| Failure::State(format!("the driver has a policy that this sluicectl cannot read: {error}"));
    let policy = if table.is_empty() { None } else { Some(Policy::new(&table).map_err(bad)?) };
    if json {
        write_json(&json!({
            "generation": generation,
            "rules": policy.as_ref().map(Policy::rule_count),
            "default": policy.as_ref().map(|policy| action_name(policy.default_action().number())),
            "table_length": table.len(),
            "same": same,
        }))?;
    } else {
        write_line(&match &policy {
            None => format!("generation {generation}: no policy is loaded"),
            Some(policy) => format!(
                "generation {generation}: {}, default {}; table of {} bytes",
                plural(policy.rule_count() as usize, "rule"),
                action_name(policy.default_action().number()),
                table.len()
            ),
        })?;
    }
    match (same, compare) {
        (Some(false), Some(path)) => {
            Err(Failure::State(format!("the policy in force is not the one in {}", path.display())))
        }
        _ => Ok(()),
    }
}

fn write_json(value: &serde_json::Value) -> Result<(), Failure> {
    write_line(&value.to_string())
}

fn write_line(line: &str) -> Result<(), Failure> {
    Ok(writeln!(io::stdout(), "{line}")?)
}
