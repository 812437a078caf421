//! What the image gives to other modules.

use super::{Check, Finding, Image};

const SOURCE: &str = "PE Format, The .edata Section (Image Only)";

pub(super) fn check(image: &Image<'_>, expected: &[String], findings: &mut Vec<Finding>) {
    let text = match unexpected(image, expected) {
        Ok(names) if names.is_empty() => return,
        Ok(names) => format!(
            "the image exports {}, though no other module should link to it: the build has left them",
            names.join(", ")
        ),
        Err(error) => format!("the export table cannot be read ({error})"),
    };
    findings.push(Finding::new(Check::Exports, text, SOURCE));
}

/// The names, or numbers, of the exports that nobody expects.
fn unexpected(image: &Image<'_>, expected: &[String]) -> object::Result<Vec<String>> {
    let Some(table) = image.directories.export_table(image.bytes, &image.sections)? else { return Ok(Vec::new()) };
    let name = |export: object::read::pe::Export<'_>| match export.name {
        Some(name) => String::from_utf8_lossy(name).into_owned(),
        None => format!("number {}", export.ordinal),
    };
    Ok(table.exports()?.into_iter().map(name).filter(|name| !expected.contains(name)).collect())
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Driver, findings, one_finding};

    #[test]
    fn exports_are_found_unless_they_are_expected() {
        let mut driver = Driver { exports: vec!["DriverEntry", "_fltused"], ..Driver::new() };
        assert!(one_finding(&driver).starts_with("the image exports DriverEntry, _fltused, though"));
        driver.expectations.exports = vec!["DriverEntry".into()];
        assert!(one_finding(&driver).starts_with("the image exports _fltused, though"));
        driver.expectations.exports.push("_fltused".into());
        assert_eq!(findings(&driver), Vec::<String>::new());
    }

    #[test]
    fn an_export_table_that_leads_outside_is_found() {
        let mut driver = Driver::new();
        driver.directories.push((object::pe::IMAGE_DIRECTORY_ENTRY_EXPORT, 0x9000, 0x28));
        assert!(one_finding(&driver).starts_with("the export table cannot be read"));
    }
}
