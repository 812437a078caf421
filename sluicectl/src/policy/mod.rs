//! Policies: from a TOML file to the table that the driver takes.

mod address;
mod checked;
pub(crate) mod commands;
mod described;
mod diagnostic;
mod dry_run;
mod expected;
mod explain;
mod file;
mod hint;
mod host_name;
mod import;
mod impossible;
mod list_file;
mod shadow;
mod source;
#[cfg(test)]
mod tests;
mod value;

pub(crate) use self::checked::load;
