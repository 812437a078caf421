//! Policies are loaded into the running driver, decide there as they do outside of it, and change under attached
//! clients.

use std::{env, fs};

use anyhow::{Context, Result};
use rstest::rstest;
use system_tests::{
    BOTH, C, Clients, RUST, end, install_second, machine, sluicectl, sluicectl_ok, started, stop, verdicts,
    verdicts_offline,
};

#[rstest]
fn a_policy_decides_in_the_driver_as_it_does_outside(#[values(RUST, C, BOTH)] clients: Clients) -> Result<()> {
    let rig = started("load", clients)?;
    sluicectl_ok(&rig, &["policy", "load", "demo.toml"])?;
    let online = clients.verdicts(&rig)?;
    assert_eq!(online, verdicts_offline(&rig, Some("demo.toml"))?);
    assert!(online.contains(r#""action":"block""#) && online.contains(r#""action":"permit""#), "{online}");
    sluicectl_ok(&rig, &["policy", "clear"])?;
    assert_eq!(clients.verdicts(&rig)?, verdicts_offline(&rig, None)?);
    end(&rig, clients)
}

#[rstest]
fn a_policy_is_in_force_for_every_client(#[values(RUST, C, BOTH)] clients: Clients) -> Result<()> {
    let rig = started("shared", clients)?;
    let late = install_second(&rig, clients.first())?;
    sluicectl_ok(&rig, &["policy", "load", "demo.toml"])?;
    // Attached after the policy was loaded.
    rig.start(&late)?;
    assert_eq!(clients.verdicts(&rig)?, verdicts(&rig, &late)?);
    stop(&rig, &late)?;
    end(&rig, clients)
}

#[test]
fn the_rules_in_force_are_shown_in_their_order() -> Result<()> {
    let rig = machine("show")?;
    rig.start("sluice")?;
    assert!(sluicectl_ok(&rig, &["policy", "show"])?.contains("no policy is loaded"));
    let policy = "default = \"block\"\n[[rule]]\nid = 9\naction = \"permit\"\nprotocol = \"tcp\"\n\
                  [[rule]]\nid = 4\naction = \"block\"\n";
    fs::write(rig.file("ordered.toml"), policy).context("cannot write")?;
    sluicectl_ok(&rig, &["policy", "load", "ordered.toml"])?;
    let shown = sluicectl_ok(&rig, &["policy", "show", "--json"])?;
    let rules = r#""rule_list":[{"action":"permit","id":9},{"action":"block","id":4}]"#;
    assert!(shown.contains(rules) && shown.contains(r#""default":"block""#), "{shown}");
    let shown = sluicectl_ok(&rig, &["policy", "show", "--json", "--compare", "ordered.toml"])?;
    assert!(shown.contains(r#""same":true"#), "{shown}");
    let outcome = sluicectl(&rig, &["policy", "show", "--json", "--compare", "demo.toml"])?;
    assert!(outcome.stdout.contains(r#""same":false"#), "{}", outcome.stdout);
    assert_eq!(outcome.code, Some(1), "{}", outcome.stderr);
    assert!(outcome.stderr.contains("the policy in force is not the one in demo.toml"), "{}", outcome.stderr);
    stop(&rig, "sluice")
}

#[rstest]
fn a_policy_that_is_wrong_leaves_the_old_one_in_force(#[values(RUST, C, BOTH)] clients: Clients) -> Result<()> {
    let rig = started("wrong", clients)?;
    sluicectl_ok(&rig, &["policy", "load", "demo.toml"])?;
    let before = clients.verdicts(&rig)?;
    let wrong = "default = \"permit\"\n[[rule]]\nid = 1\naction = \"drop\"\n";
    fs::write(rig.file("wrong.toml"), wrong).context("cannot write")?;
    let outcome = sluicectl(&rig, &["policy", "load", "wrong.toml"])?;
    assert_eq!(outcome.code, Some(2), "{}", outcome.stderr);
    assert!(outcome.stderr.contains('4') && outcome.stderr.contains("action"), "{}", outcome.stderr);
    assert_eq!(clients.verdicts(&rig)?, before);
    end(&rig, clients)
}

#[rstest]
fn status_shows_the_clients_and_counts_their_packets(#[values(RUST, C, BOTH)] clients: Clients) -> Result<()> {
    let rig = started("status", clients)?;
    let packets = clients.verdicts(&rig)?.lines().count();
    let status = sluicectl_ok(&rig, &["status", "--json"])?;
    let times = |part: &str| status.matches(part).count();
    assert_eq!(times(&format!(r#""packets":{packets},"permitted":{packets},"#)), clients.count(), "{status}");
    for client in clients.names() {
        assert_eq!(times(&format!(r#""name":"{client}","version":1,"state":"attached""#)), 1, "{status}");
    }
    clients.stop(&rig)?;
    let status = sluicectl_ok(&rig, &["status", "--json"])?;
    assert!(status.contains(r#""clients":[]"#), "{status}");
    Ok(())
}

/// With SLUICE_CAPTURES: every capture of that folder, of which many are malformed, gets the verdicts that the same
/// code gives outside of the kernel.
#[rstest]
fn captures_never_seen_before_are_classified_as_outside_of_the_kernel(
    #[values(RUST, C, BOTH)] clients: Clients,
) -> Result<()> {
    let Some(folder) = env::var_os("SLUICE_CAPTURES") else {
        println!("SLUICE_CAPTURES is not set: nothing was tested");
        return Ok(());
    };
    let rig = started("captures", clients)?;
    sluicectl_ok(&rig, &["policy", "load", "demo.toml"])?;
    let mut files: Vec<_> = fs::read_dir(&folder)?.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
    files.retain(|file| file.extension().is_some_and(|extension| extension == "pcap" || extension == "pcapng"));
    files.sort();
    assert!(!files.is_empty(), "expected captures in the folder SLUICE_CAPTURES");
    for file in files {
        let name = rig.copy_file(&file)?;
        let offline = sluicectl(&rig, &["classify", "--json", "--offline", "--policy", "demo.toml", &name])?;
        for client in clients.names() {
            let online = sluicectl(&rig, &["classify", "--json", "--device", client, &name])?;
            let expected = (offline.code, offline.stdout.as_str());
            assert_eq!((online.code, online.stdout.as_str()), expected, "{client}, {name}: {}", online.stderr);
        }
    }
    end(&rig, clients)
}
