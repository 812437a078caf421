//! A rig: one prefix with one server, services in it, and programs.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fmt::Write;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use std::{fs, thread};

use anyhow::{Context, Result, ensure};

use crate::arch::Arch;
use crate::event::{Event, Left};
use crate::process::{self, Outcome};
use crate::symbols::{image_offset, line, symbolized};
use crate::verifier::Verifier;
use crate::wine::Wine;
use crate::{prefix, speed};

/// How long `sc` may take, [scaled](Rig::scaled). The service manager of Wine gives up on a driver after 10 s.
const SC_LIMIT: Duration = Duration::from_secs(60);
/// How long an event may be on its way into the log, [scaled](Rig::scaled).
const EVENT_LIMIT: Duration = Duration::from_secs(5);
/// How long the server may take to start or to end all that runs in it, and the service manager to start: before the
/// speed of the machine is known.
const FIRST_LIMIT: Duration = Duration::from_secs(300);
/// How often a start is tried that Wine itself does not manage.
const START_ATTEMPTS: u32 = 5;
/// How long to wait before the service manager is asked again.
const SERVICE_MANAGER_POLL: Duration = Duration::from_millis(200);
/// The load-order group. Drivers of one group share a process of Wine; in different ones they would not see each other.
const GROUP: &str = "NDIS";

/// What `sc query` says about a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Not loaded.
    Stopped,
    /// Loaded.
    Running,
    /// On its way to either, or something else: the number that `sc` shows.
    Other(u32),
}

/// A Windows of its own, with netio.sys running. Ended when it is dropped. Several threads may use it at once.
pub struct Rig {
    arch: Arch,
    wine: Wine,
    prefix: PathBuf,
    output: PathBuf,
    commands: AtomicUsize,
    verifier: Verifier,
    /// Where the image of each service came from: its symbols are there.
    installed: Mutex<BTreeMap<String, PathBuf>>,
}

impl Rig {
    /// A rig in which nothing has been done yet, not even netio.sys started. `name` is part of its folder's name.
    ///
    /// # Errors
    /// Wine or a file of the build is missing, or Wine does not work.
    pub fn new(arch: Arch, name: &str) -> Result<Self> {
        let wine = Wine::find(arch)?;
        let prefix = prefix::fresh(arch, &wine, name)?;
        let output = prefix.join("output");
        fs::create_dir(&output).with_context(|| format!("cannot make {}", output.display()))?;
        let folder = prefix.join("drive_c/rig");
        fs::create_dir_all(&folder).context("cannot make C:\\rig")?;
        let verifier = Verifier::create(&folder.join("verifier"))?;
        let (commands, installed) = (AtomicUsize::new(0), Mutex::default());
        let rig = Self { arch, wine, prefix, output, commands, verifier, installed };
        // It goes into the background when it is ready: a program that is run before that may fail. Should this process
        // be killed, the server ends by itself that many seconds after the last program.
        rig.server("--persistent=120")?;
        rig.copy(&rig.part("netio.sys"), "windows/system32/drivers/netio.sys")?;
        if arch == Arch::X64 {
            // What Rust's standard library needs and Wine 8.0 lacks.
            rig.copy(&rig.part("bcryptprimitives.dll"), "windows/system32/bcryptprimitives.dll")?;
        }
        rig.wait_for_service_manager()?;
        let [program, arguments @ ..] = speed::PROBE;
        speed::measure(|| rig.run(program, &arguments, speed::PROBE_LIMIT).map(drop))?;
        rig.verifier.set_slowness(speed::slowness())?;
        Ok(rig)
    }

    /// The first program starts the service manager and, on a busy machine, is sometimes faster than it.
    fn wait_for_service_manager(&self) -> Result<()> {
        let deadline = Instant::now() + FIRST_LIMIT;
        while self.sc(&["query", "netio"])?.stderr.contains("failed to open service manager") {
            if Instant::now() >= deadline {
                let error = anyhow::anyhow!("no service manager after {} s", FIRST_LIMIT.as_secs());
                return Err(self.explain(error));
            }
            thread::sleep(SERVICE_MANAGER_POLL);
        }
        Ok(())
    }

    /// A rig of the architecture that `SLUICE_ARCH` names, or x64, with netio.sys running.
    ///
    /// # Errors
    /// As for [`Self::new`], or netio.sys does not start.
    pub fn boot(name: &str) -> Result<Self> {
        let rig = Self::new(Arch::chosen()?, name)?;
        rig.create_service("netio")?;
        rig.start("netio")?;
        Ok(rig)
    }

    /// The settings of netio.sys' checks.
    #[must_use]
    pub fn verifier(&self) -> &Verifier {
        &self.verifier
    }

    /// A file that a user installs, as `cargo xtask build` made it for this rig: `target/drivers/<arch>/<file>`.
    #[must_use]
    pub fn product(&self, file: &str) -> PathBuf {
        self.arch.drivers().join(file)
    }

    /// A part of the rig itself, as `cargo xtask build` made it: `target/rig/<arch>/<file>`.
    #[must_use]
    pub fn part(&self, file: &str) -> PathBuf {
        self.arch.rig().join(file)
    }

    /// A time limit, written down for an idle machine of 2023, as it is for this machine: what starting a program takes
    /// is measured whenever a rig is made.
    #[must_use]
    pub fn scaled(&self, limit: Duration) -> Duration {
        speed::scaled(limit)
    }

    /// Copies a driver of the product, `target/drivers/<arch>/<name>.sys`, and makes a service of that name for it.
    ///
    /// # Errors
    /// The file is missing, or `sc create` fails.
    pub fn install(&self, name: &str) -> Result<()> {
        self.install_file(&self.product(&format!("{name}.sys")), name)
    }

    /// Copies the driver that does what `behaviour` says wrong (see rig/drivers/misfit), and makes a service of that
    /// name for it.
    ///
    /// # Errors
    /// As for [`Self::install`].
    pub fn install_misfit(&self, behaviour: &str) -> Result<()> {
        self.install_file(&self.part("misfit.sys"), behaviour)
    }

    /// Copies a driver file to `C:\windows\system32\drivers\<service>.sys` and makes a service for it.
    ///
    /// # Errors
    /// As for [`Self::install`].
    pub fn install_file(&self, file: &Path, service: &str) -> Result<()> {
        self.copy_driver(file, service)?;
        self.create_service(service)?;
        Ok(())
    }

    /// Copies a driver file to `C:\windows\system32\drivers\<service>.sys`.
    ///
    /// # Errors
    /// The file cannot be read or written.
    pub fn copy_driver(&self, file: &Path, service: &str) -> Result<()> {
        let mut installed = self.installed.lock().unwrap_or_else(PoisonError::into_inner);
        installed.insert(service.to_owned(), file.to_path_buf());
        drop(installed);
        self.copy(file, &format!("windows/system32/drivers/{service}.sys"))
    }

    /// Copies a file to `C:\rig\<name>`, where programs run. Returns its name there.
    ///
    /// # Errors
    /// The file cannot be read or written.
    pub fn copy_file(&self, file: &Path) -> Result<String> {
        let name = file.file_name().and_then(OsStr::to_str);
        let name = name.with_context(|| format!("{} has no name that Windows can have", file.display()))?;
        self.copy(file, &format!("rig/{name}"))?;
        Ok(name.to_string())
    }

    /// Where the file `C:\rig\<name>` is on this machine.
    #[must_use]
    pub fn file(&self, name: &str) -> PathBuf {
        self.path("rig").join(name)
    }

    /// Copies a file to `C:\rig\<name>`, in the place of whatever is there.
    ///
    /// # Errors
    /// The file cannot be read or written.
    pub fn replace_file(&self, name: &str, file: &Path) -> Result<()> {
        self.copy(file, &format!("rig/{name}"))
    }

    /// `sc create`, as a person types it.
    ///
    /// # Errors
    /// `sc` cannot be run, or it fails.
    pub fn create_service(&self, service: &str) -> Result<Outcome> {
        let path = format!("C:\\windows\\system32\\drivers\\{service}.sys");
        self.succeed(
            &["create", service, "type=", "kernel", "start=", "demand", "group=", GROUP, "binPath=", &path],
            service,
        )
    }

    /// `sc start`.
    ///
    /// # Errors
    /// The driver does not start: it failed, broke a rule, crashed, or hangs.
    pub fn start(&self, service: &str) -> Result<Outcome> {
        let arguments = ["start", service];
        let before = self.events()?.len();
        let mut outcome = self.sc(&arguments)?;
        let mut attempts = 1;
        // Now and then Wine 8.0 fails by itself, before it has even loaded the driver.
        while attempts < START_ATTEMPTS && failed_in_wine(&outcome) && self.events()?.len() == before {
            thread::sleep(SERVICE_MANAGER_POLL);
            outcome = self.sc(&arguments)?;
            attempts += 1;
        }
        let outcome = self.judge(outcome, service, before)?;
        match self.out_of_sight(service, before) {
            Some(advice) => Err(self.explain(anyhow::anyhow!("{service}.sys runs, but {advice}"))),
            None => Ok(outcome),
        }
    }

    /// `sc stop`; returns what the driver has left behind.
    ///
    /// # Errors
    /// The driver does not stop: it failed, broke a rule, crashed, or hangs.
    pub fn stop(&self, service: &str) -> Result<Left> {
        Ok(self.stop_with_output(service)?.1)
    }

    /// As [`Self::stop`], with what `sc` printed.
    ///
    /// # Errors
    /// As for [`Self::stop`].
    pub fn stop_with_output(&self, service: &str) -> Result<(Outcome, Left)> {
        let unloads = |events: &[Event]| events.iter().filter(|event| event.is(service, "unload")).count();
        let before = unloads(&self.events()?);
        let outcome = self.succeed(&["stop", service], service)?;
        let events = self.wait_for(&format!("the unload of {service}.sys"), |events| unloads(events) > before)?;
        let unload = events.iter().rfind(|event| event.is(service, "unload"));
        Ok((outcome, unload.map(Left::of).unwrap_or_default()))
    }

    /// `sc query`.
    ///
    /// # Errors
    /// `sc` cannot be run or fails, or says something else than a state.
    pub fn state(&self, service: &str) -> Result<State> {
        let outcome = self.succeed(&["query", service], service)?;
        let line = outcome.stdout.lines().find_map(|line| line.trim().strip_prefix("STATE"));
        let number = line.and_then(|line| line.trim_start_matches([' ', ':']).split(' ').next()?.parse().ok());
        match number.with_context(|| format!("expected a line STATE from `sc query`, found:\n{}", outcome.stdout))? {
            1 => Ok(State::Stopped),
            4 => Ok(State::Running),
            other => Ok(State::Other(other)),
        }
    }

    /// `sc delete`.
    ///
    /// # Errors
    /// `sc` cannot be run, or it fails.
    pub fn delete(&self, service: &str) -> Result<Outcome> {
        self.succeed(&["delete", service], service)
    }

    /// `sc` with any arguments, whether it succeeds or not.
    ///
    /// # Errors
    /// It cannot be run, or it hangs.
    pub fn sc(&self, arguments: &[&str]) -> Result<Outcome> {
        self.run("sc", arguments, self.scaled(SC_LIMIT))
    }

    /// Runs a program of Windows, or one copied with [`Self::copy_file`], with `C:\rig` as its folder.
    ///
    /// # Errors
    /// It cannot be run, or it runs longer than `limit`.
    pub fn run(&self, program: &str, arguments: &[&str], limit: Duration) -> Result<Outcome> {
        let number = self.commands.fetch_add(1, Ordering::Relaxed);
        let mut command = self.wine.program(&self.prefix, &self.located(program));
        command.args(arguments).current_dir(self.path("rig"));
        let line = typed(program, arguments);
        process::run(&mut command, &line, &self.output, number, limit).map_err(|error| self.explain(error))
    }

    /// Everything that has happened in the kernel so far: nothing before netio.sys is started.
    ///
    /// # Errors
    /// The log cannot be read, or one of its lines is not an event.
    pub fn events(&self) -> Result<Vec<Event>> {
        let path = self.path("rig/netio.log");
        let text = match fs::read(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            text => text.with_context(|| format!("cannot read {}", path.display()))?,
        };
        let text = String::from_utf8_lossy(&text);
        // A line without its end is still being written.
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        whole.lines().map(Event::parse).collect()
    }

    /// Waits until the events are as wanted, and returns them.
    ///
    /// # Errors
    /// They are not after 5 s, [scaled](Self::scaled): the error says that `what` did not happen.
    pub fn wait_for(&self, what: &str, wanted: impl Fn(&[Event]) -> bool) -> Result<Vec<Event>> {
        let limit = self.scaled(EVENT_LIMIT);
        let deadline = Instant::now() + limit;
        loop {
            let events = self.events()?;
            if wanted(&events) {
                return Ok(events);
            }
            if Instant::now() > deadline {
                return Err(self.explain(anyhow::anyhow!("{what} did not happen within {} s", limit.as_secs())));
            }
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Asks netio.sys what is alive in all: what a machine with no driver of ours shows is nothing.
    ///
    /// # Errors
    /// netio.sys does not answer.
    pub fn alive(&self) -> Result<Left> {
        let reports = |events: &[Event]| events.iter().filter(|event| event.is("netio", "report")).count();
        let before = reports(&self.events()?);
        // Opening its device is the question; the answer is in the log.
        self.run("cmd", &["/c", "type", "\\\\.\\netio"], self.scaled(SC_LIMIT))?;
        let events = self.wait_for("the report of netio.sys", |events| reports(events) > before)?;
        Ok(events.iter().rfind(|event| event.is("netio", "report")).map(Left::of).unwrap_or_default())
    }

    /// What drivers have printed with DbgPrint.
    ///
    /// # Errors
    /// As for [`Self::events`].
    pub fn printed(&self, driver: &str) -> Result<Vec<String>> {
        let events = self.events()?.into_iter().filter(|event| event.is(driver, "debug"));
        Ok(events.filter_map(|event| event.get("text").map(str::to_string)).collect())
    }

    /// The bug check of the newest driver that ended in one, if any did.
    ///
    /// # Errors
    /// As for [`Self::events`].
    pub fn bug_check(&self) -> Result<Option<Event>> {
        Ok(self.events()?.into_iter().rfind(|event| event.name == "bugcheck"))
    }

    /// Runs `sc` and makes everything but success an error that says what the drivers did.
    fn succeed(&self, arguments: &[&str], service: &str) -> Result<Outcome> {
        let before = self.events().map_or(0, |events| events.len());
        let outcome = self.sc(arguments)?;
        self.judge(outcome, service, before)
    }

    /// Makes everything but success an error. There were `before` events when `sc` was run.
    fn judge(&self, outcome: Outcome, service: &str, before: usize) -> Result<Outcome> {
        if outcome.succeeded() {
            return Ok(outcome);
        }
        let mut why = String::new();
        match self.bug_check_since(before) {
            Some(event) => {
                why = self.bug_check_text(&event);
            }
            None => {
                let _ = match windows_error(&outcome.stderr) {
                    Some((number, meaning)) => write!(why, "error {number}: {meaning}"),
                    None => write!(why, "exit code {:?}\n{}", outcome.code, outcome.stderr.trim_end()),
                };
            }
        }
        let number = windows_error(&outcome.stderr).map(|(number, _)| number);
        let is_start = outcome.line.starts_with("sc start");
        let alone = self.out_of_sight(service, before).filter(|_| is_start && number.is_some_and(is_crash));
        let mut advice = self.advice(service, before);
        if advice.is_empty() && outcome.line.starts_with("sc stop") && number == Some(NO_ANSWER) {
            advice.push(format!("DriverUnload of {service}.sys has not returned"));
        }
        for advice in advice.into_iter().chain(alone) {
            let _ = write!(why, "\n{advice}");
        }
        let error = anyhow::anyhow!("`{}` failed for {service}.sys: {why}", outcome.line);
        Err(self.explain(error))
    }

    /// What to do about a driver that was started and that netio.sys has not seen.
    fn out_of_sight(&self, service: &str, first: usize) -> Option<String> {
        let events = self.events().unwrap_or_default();
        let is_seen = events.iter().skip(first).any(|event| event.is(service, "load"));
        (!is_seen && service != "netio").then(|| {
            format!(
                "netio.sys has not seen it: only drivers of one load-order group share a process. Create the service \
                 with `group= {GROUP}`, as Rig::create_service does, and start netio.sys first"
            )
        })
    }

    /// What the author of a driver can do about what has happened since then.
    fn advice(&self, service: &str, first: usize) -> Vec<String> {
        let events = self.events().unwrap_or_default();
        let get = |event: &Event, key| event.get(key).unwrap_or("?").to_owned();
        let told = events.iter().skip(first).filter_map(|event| match event.name.as_str() {
            "missing" if event.driver == service => {
                let (function, dll) = (get(event, "function"), get(event, "dll"));
                Some(format!(
                    "{service}.sys imports {function}, which the {dll} of this Wine does not export: a call of it is a \
                     bug check. A newer Wine may have it; the rig supplies such functions in rig/netio/src/hooks.rs, \
                     where {function} would be a line of the table and a function in Rust"
                ))
            }
            "slow_wait" => {
                let text = get(event, "text");
                let peers = peers(&events, event).join(", ");
                Some(format!("an unload does not end: {text}\n  on the other side: {peers}"))
            }
            "unload_waits" => Some(format!(
                "DriverUnload of {}.sys runs when the open handles to its devices are closed: {}",
                event.driver,
                get(event, "handles")
            )),
            "bugcheck" => event.get("why").and_then(image_offset).map(|offset| {
                let driver = &event.driver;
                let symbols = self.symbols(driver);
                symbolized(&symbols, offset)
                    .map_or_else(|| format!("no symbols for {driver}.sys+{offset}"), |place| format!("at {place}"))
            }),
            _ => None,
        });
        told.collect()
    }

    /// The image that a service was installed from, with its symbols beside it, as far as that is known.
    fn symbols(&self, service: &str) -> PathBuf {
        let installed = self.installed.lock().unwrap_or_else(PoisonError::into_inner);
        installed.get(service).cloned().unwrap_or_else(|| self.product(&format!("{service}.sys")))
    }

    /// The place that an event is about: the function that a driver called, if it is about a call, and the line of its
    /// source, if the driver's .pdb file is beside the file that was installed.
    #[must_use]
    pub fn place(&self, event: &Event) -> Option<String> {
        let offset = event.get("offset")?;
        let function = event.get("function");
        let Ok(number) = u64::from_str_radix(offset.trim_start_matches("0x"), 16) else {
            // The compiler has made a jump of the call.
            return function.map(|function| format!("in the call of {function} with which one of its functions ends"));
        };
        // A call is the instruction before the one that it returns to.
        let number = number.saturating_sub(u64::from(function.is_some()));
        let line = line(&self.symbols(&event.driver), number);
        let line = line.unwrap_or_else(|| format!("{}.sys+{offset}", event.driver));
        Some(function.map_or(format!("at {line}"), |function| format!("in the call of {function} at {line}")))
    }

    /// What a bug check says: the driver, the rule, the function and the line of the source, as far as they are known.
    #[must_use]
    pub fn bug_check_text(&self, event: &Event) -> String {
        let (code, why) = (event.get("code").unwrap_or("?"), event.get("why").unwrap_or("?"));
        let place = self.place(event).map(|place| format!(", {place}")).unwrap_or_default();
        format!("{}.sys caused bug check {code}: {why}{place}", event.driver)
    }

    fn bug_check_since(&self, first: usize) -> Option<Event> {
        self.events().ok()?.into_iter().skip(first).find(|event| event.name == "bugcheck")
    }

    /// Adds what happened last to an error.
    #[must_use]
    pub fn explain(&self, error: anyhow::Error) -> anyhow::Error {
        const LAST: usize = 12;
        let mut text = format!("{error:#}\nThe last events (all are in {}):", self.path("rig/netio.log").display());
        match self.events() {
            Ok(events) => {
                for event in &events[events.len().saturating_sub(LAST)..] {
                    let _ = write!(text, "\n  {event}");
                }
            }
            Err(unreadable) => {
                let _ = write!(text, "\n  none: {unreadable:#}");
            }
        }
        // The services inherit the standard error of the first command.
        let wine = fs::read_to_string(self.output.join("000.stderr")).unwrap_or_default();
        if !wine.is_empty() {
            let _ = write!(text, "\nWine says:");
            wine.lines().rev().take(LAST).collect::<Vec<_>>().iter().rev().for_each(|line| {
                let _ = write!(text, "\n  {line}");
            });
        }
        anyhow::anyhow!(text)
    }

    /// The path of a program: what was copied to `C:\rig` is taken before what Windows has.
    ///
    /// Of a program that is only named, Wine first starts another, start.exe, to look for it. That takes more than half
    /// of the time until it runs.
    fn located(&self, program: &str) -> String {
        let file = if program.contains('.') { program.to_owned() } else { format!("{program}.exe") };
        if self.file(&file).is_file() {
            format!(r"C:\rig\{file}")
        } else if self.path("windows/system32").join(&file).is_file() {
            format!(r"C:\windows\system32\{file}")
        } else {
            program.to_owned()
        }
    }

    /// Where a path below `C:\` is on this machine.
    fn path(&self, below_c: &str) -> PathBuf {
        self.prefix.join("drive_c").join(below_c)
    }

    fn copy(&self, file: &Path, below_c: &str) -> Result<()> {
        let target = self.path(below_c);
        // What is there may be a hard link to a file of the template.
        if target.exists() {
            fs::remove_file(&target).with_context(|| format!("cannot remove {}", target.display()))?;
        }
        let copied = fs::copy(file, &target);
        copied.with_context(|| format!("cannot copy {} to {}", file.display(), target.display())).map(drop)
    }

    /// Runs `wineserver` with an option, and waits until it has done what that says.
    fn server(&self, option: &str) -> Result<()> {
        let mut command = self.wine.server(&self.prefix);
        let quiet = command.arg(option).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut server = quiet.spawn().context("cannot run the server of Wine")?;
        let status = process::wait(&mut server, FIRST_LIMIT)?;
        let status = status.with_context(|| format!("`wineserver {option}` did not end in time"))?;
        ensure!(status.success(), "`wineserver {option}` ended with {status}");
        Ok(())
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        if let Err(error) = self.server("--kill") {
            eprintln!("warning: {error:#}");
        }
        prefix::remove_server_folder(&self.prefix);
        // What is left of a failed test is for people to look at.
        if thread::panicking() {
            eprintln!("the prefix is kept: {}", self.prefix.display());
        } else if let Err(error) = prefix::remove(&self.prefix) {
            eprintln!("warning: {error:#}");
        }
    }
}

/// The drivers on the other side of the bindings that a wait is about.
fn peers<'a>(events: &'a [Event], wait: &Event) -> Vec<&'a str> {
    let text = wait.get("text").unwrap_or_default();
    let is_about = |event: &&Event| event.get("binding").is_some_and(|binding| text.contains(binding));
    let drivers = events.iter().filter(is_about).map(|event| event.driver.as_str());
    drivers.filter(|driver| *driver != wait.driver).collect::<BTreeSet<_>>().into_iter().collect()
}

/// A command as a person would type it: arguments with spaces in quotes.
fn typed(program: &str, arguments: &[&str]) -> String {
    let program = program.strip_suffix(".exe").unwrap_or(program);
    arguments.iter().fold(program.to_string(), |line, argument| {
        if argument.contains(' ') { format!("{line} \"{argument}\"") } else { format!("{line} {argument}") }
    })
}

/// ERROR_SERVICE_REQUEST_TIMEOUT.
const NO_ANSWER: u32 = 1053;

/// Whether an error number of `sc` says that the process of the drivers has ended.
fn is_crash(number: u32) -> bool {
    matches!(number, 109 | 232 | NO_ANSWER)
}

/// Whether `sc` failed with ERROR_INTERNAL_ERROR, which no driver answers.
fn failed_in_wine(outcome: &Outcome) -> bool {
    const ERROR_INTERNAL_ERROR: u32 = 1359;
    windows_error(&outcome.stderr).is_some_and(|(number, _)| number == ERROR_INTERNAL_ERROR)
}

/// The error number at the end of a message of `sc`, and what it means.
fn windows_error(stderr: &str) -> Option<(u32, &'static str)> {
    let line = stderr.lines().rfind(|line| line.contains("err:sc:"))?;
    let number = line.rsplit(' ').next()?.parse().ok()?;
    let meaning = match number {
        5 => "access is denied",
        31 => "the driver failed to start (DriverEntry returned an error)",
        109 | 232 => "the process of the drivers has ended: a driver crashed",
        126 | 1114 => "the driver's file is missing, or is not a driver for this machine",
        NO_ANSWER => "the process of the drivers did not answer: a driver crashed or hangs",
        1056 => "the service is running already",
        1058 => "the service is disabled",
        1060 => "there is no such service",
        1062 => "the service is not running",
        1073 => "there is such a service already",
        _ => "see the error codes of Windows",
    };
    Some((number, meaning))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_shown_as_it_is_typed() {
        assert_eq!(typed("sc", &["stop", "sluice"]), "sc stop sluice");
        assert_eq!(typed("sluicectl.exe", &["classify", "my file.pcap"]), "sluicectl classify \"my file.pcap\"");
    }

    #[test]
    fn the_other_side_of_a_wait_is_known_by_its_bindings() {
        let lines = [
            "1 a callback function=ClientDetachProvider binding=0x1",
            "1 b callback function=ProviderDetachClient binding=0x1",
            "1 c callback function=ClientDetachProvider binding=0x2",
            "2 b slow_wait text=\"binding 0x1 of client 0x7\"",
        ];
        let events = lines.map(|line| Event::parse(line).unwrap());
        assert_eq!(peers(&events, &events[3]), ["a"]);
    }

    #[test]
    fn the_error_number_of_sc_is_found_and_explained() {
        let stderr = "0044:err:module:x\n01a8:err:sc:wmain failed to start service 1053\n";
        let (number, meaning) = windows_error(stderr).unwrap();
        assert_eq!(number, 1053);
        assert!(meaning.contains("crashed or hangs"), "{meaning}");
        assert_eq!(windows_error("something else"), None);
    }
}
