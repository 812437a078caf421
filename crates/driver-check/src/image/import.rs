//! What the image takes from other modules.

use object::LittleEndian as LE;
use object::pe::{self, ImageNtHeaders64};
use object::read::pe::Import;

use super::{Check, Finding, Image, ImportList};

const SOURCE: &str = "PE Format, The .idata Section";

/// Functions whose pool is executable unless the caller takes care.
const DEPRECATED: &[&str] =
    &["ExAllocatePool", "ExAllocatePoolWithTag", "ExAllocatePoolWithQuotaTag", "ExAllocatePoolWithTagPriority"];

/// How the modules are called that a build without `/NODEFAULTLIB` links to. None of them is in the kernel.
const USER_MODE: &[&str] =
    &["api-ms-win-", "advapi32.", "kernel32.", "kernelbase.", "msvc", "ntdll.", "ucrtbase", "user32.", "vcruntime"];

pub(super) fn check(image: &Image<'_>, list: Option<&ImportList>, findings: &mut Vec<Finding>) {
    if let Err(error) = check_imports(image, list, findings) {
        let text = format!("the import table cannot be read ({error}), so the loader refuses the image");
        findings.push(Finding::new(Check::Imports, text, SOURCE));
    }
    if image.directory(pe::IMAGE_DIRECTORY_ENTRY_DELAY_IMPORT).is_some() {
        findings.push(Finding::new(
            Check::DelayImports,
            "the image has delay-loaded imports, which need a user-mode helper",
            "PE Format, Delay-Load Import Tables (Image Only)",
        ));
    }
    if image.directory(pe::IMAGE_DIRECTORY_ENTRY_TLS).is_some() {
        findings.push(Finding::new(
            Check::ThreadLocalStorage,
            "the image has thread-local storage, which the kernel does not set up",
            "PE Format, The .tls Section",
        ));
    }
}

fn check_imports(image: &Image<'_>, list: Option<&ImportList>, findings: &mut Vec<Finding>) -> object::Result<()> {
    let Some(table) = image.directories.import_table(image.bytes, &image.sections)? else { return Ok(()) };
    let mut descriptors = table.descriptors()?;
    while let Some(descriptor) = descriptors.next()? {
        let module = String::from_utf8_lossy(table.name(descriptor.name.get(LE))?).into_owned();
        findings.extend(judge_module(&module, list));
        let mut thunks = table.thunks(descriptor.original_first_thunk.get(LE))?;
        while let Some(thunk) = thunks.next::<ImageNtHeaders64>()? {
            match table.import::<ImageNtHeaders64>(thunk)? {
                Import::Ordinal(ordinal) => {
                    let text = format!(
                        "{module} is asked for export number {ordinal}, which another build of Windows may have given \
                         to something else"
                    );
                    findings.push(Finding::new(Check::Imports, text, "PE Format, Import Lookup Table"));
                }
                Import::Name(_, name) => findings.extend(judge(&module, &String::from_utf8_lossy(name), list)),
            }
        }
    }
    Ok(())
}

fn judge_module(module: &str, list: Option<&ImportList>) -> Option<Finding> {
    let lower = module.to_lowercase();
    if USER_MODE.iter().any(|start| lower.starts_with(start)) {
        let text = format!("{module} is imported from, which is not in the kernel: the driver is not loaded");
        return Some(Finding::new(Check::Imports, text, SOURCE));
    }
    let list = list.filter(|list| list.modules().all(|listed| listed != lower))?;
    let modules: Vec<&str> = list.modules().collect();
    let text = format!("expected imports from {} only, found {module}", modules.join(", "));
    Some(Finding::new(Check::Imports, text, "the list of imports"))
}

fn judge(module: &str, name: &str, list: Option<&ImportList>) -> Option<Finding> {
    if DEPRECATED.contains(&name) {
        let text = format!("{name} is imported, whose pool is executable unless asked otherwise; use ExAllocatePool2");
        return Some(Finding::new(Check::ExecutablePool, text, "Code integrity checking, 0x2000"));
    }
    let objection = list?.objection(module, name)?;
    let text = format!("{module}!{name} is imported, {objection}; Windows does not load a driver that lacks an import");
    Some(Finding::new(Check::Imports, text, "the list of imports"))
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Driver, findings, one_finding};
    use super::*;

    fn importing(module: &'static str, name: &'static str) -> Driver {
        Driver { imports: vec![(module, vec![name])], ..Driver::new() }
    }

    fn listed(driver: Driver) -> Driver {
        let mut driver = driver;
        let list = "ntoskrnl.exe memcpy 6000\nntoskrnl.exe KeFutureThing 22621\nNETIO.SYS NmrRegisterProvider 6000\n";
        driver.expectations.imports = Some(ImportList::parse(list, 19041).unwrap());
        driver
    }

    #[test]
    fn what_is_listed_may_be_imported() {
        assert_eq!(findings(&listed(importing("ntoskrnl.exe", "memcpy"))), Vec::<String>::new());
        let upper_case = listed(importing("netio.sys", "NmrRegisterProvider"));
        assert_eq!(findings(&upper_case), Vec::<String>::new(), "case does not count");
    }

    #[test]
    fn without_a_list_any_kernel_function_may_be_imported() {
        assert_eq!(findings(&importing("ndis.sys", "NdisAnything")), Vec::<String>::new());
    }

    #[test]
    fn a_function_that_is_not_listed_is_found() {
        let found = one_finding(&listed(importing("ntoskrnl.exe", "RtlUnheardOf")));
        assert!(found.starts_with("ntoskrnl.exe!RtlUnheardOf is imported, which is not in the list"), "{found}");
    }

    #[test]
    fn a_function_that_the_oldest_windows_lacks_is_found() {
        let found = one_finding(&listed(importing("ntoskrnl.exe", "KeFutureThing")));
        assert!(found.contains("which build 22621 of Windows exports first"), "{found}");
    }

    #[test]
    fn a_module_that_is_not_listed_is_found() {
        let found = one_finding(&listed(importing("ndis.sys", "NdisAnything")));
        assert!(found.starts_with("expected imports from netio.sys, ntoskrnl.exe only, found ndis.sys"), "{found}");
    }

    #[test]
    fn a_module_of_user_mode_is_found_with_a_list_and_without() {
        for driver in [importing("KERNEL32.dll", "CreateFileW"), listed(importing("VCRUNTIME140.dll", "memset"))] {
            assert!(one_finding(&driver).contains("is imported from, which is not in the kernel"));
        }
    }

    #[test]
    fn an_import_by_ordinal_is_found() {
        let found = one_finding(&importing("ntoskrnl.exe", "#7"));
        assert!(found.starts_with("ntoskrnl.exe is asked for export number 7"), "{found}");
    }

    #[test]
    fn pool_that_may_be_executable_is_found() {
        let found = one_finding(&importing("ntoskrnl.exe", "ExAllocatePoolWithTag"));
        assert!(found.starts_with("ExAllocatePoolWithTag is imported"), "{found}");
    }

    #[test]
    fn an_import_table_that_leads_outside_is_found() {
        let mut driver = Driver::new();
        driver.directories.push((pe::IMAGE_DIRECTORY_ENTRY_IMPORT, 0x9000, 0x28));
        assert!(one_finding(&driver).starts_with("the import table cannot be read"));
    }

    #[test]
    fn delay_loaded_imports_and_thread_local_storage_are_found() {
        let mut driver = Driver::new();
        driver.directories.push((pe::IMAGE_DIRECTORY_ENTRY_DELAY_IMPORT, 0x2000, 0x40));
        assert!(one_finding(&driver).starts_with("the image has delay-loaded imports"));
        let mut driver = Driver::new();
        driver.directories.push((pe::IMAGE_DIRECTORY_ENTRY_TLS, 0x2000, 0x28));
        assert!(one_finding(&driver).starts_with("the image has thread-local storage"));
    }
}
