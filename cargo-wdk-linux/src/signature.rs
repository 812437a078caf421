//! Signs drivers with a test certificate, for machines on which test signing is on.
//!
//! The certificate is made on first use and kept, since a machine that trusts it should not have to
//! trust a new one after every build. Signed copies go to `target/signed/<arch>/`; what was built stays as it is,
//! because a signature is never the same twice. On Windows the tasks of Makefile.toml do this with the WDK's tools.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::run::{output, program, write_if_changed};

/// A test certificate: the key, and the certificate in the two forms that the tools want.
pub struct Certificate {
    key: PathBuf,
    pem: PathBuf,
    /// What a machine that is to load the drivers imports.
    pub der: PathBuf,
}

/// The test certificate in a folder, made if there is none: `<name>.cer` is what machines import.
///
/// # Errors
/// openssl is missing or fails.
pub fn certificate(folder: &Path, name: &str) -> Result<Certificate> {
    // "Creating Test Certificates" (Windows drivers): self-signed, for code signing only.
    let request_text = format!(
        "[req]\n\
         prompt = no\n\
         distinguished_name = subject\n\
         x509_extensions = extensions\n\
         [subject]\n\
         CN = {name} test certificate\n\
         [extensions]\n\
         basicConstraints = critical, CA:FALSE\n\
         keyUsage = critical, digitalSignature\n\
         extendedKeyUsage = critical, codeSigning\n\
         subjectKeyIdentifier = hash\n"
    );
    let certificate = Certificate {
        key: folder.join("test.key"),
        pem: folder.join("test.pem"),
        der: folder.join(format!("{name}.cer")),
    };
    if [&certificate.key, &certificate.pem, &certificate.der].iter().all(|file| file.is_file()) {
        return Ok(certificate);
    }
    let request = folder.join("request.cnf");
    write_if_changed(&request, request_text)?;
    let mut make = tool("openssl")?;
    make.args(["req", "-x509", "-newkey", "rsa:3072", "-sha256", "-noenc", "-days", "3650", "-config"]).arg(&request);
    output(make.arg("-keyout").arg(&certificate.key).arg("-out").arg(&certificate.pem))?;
    let mut convert = tool("openssl")?;
    convert.args(["x509", "-outform", "der", "-in"]).arg(&certificate.pem);
    output(convert.arg("-out").arg(&certificate.der))?;
    Ok(certificate)
}

/// Puts a signed copy of the image `from` to `to`, and verifies it. `name` is what Windows shows as what was signed.
///
/// # Errors
/// A tool is missing or fails, or the signature does not verify.
pub fn sign_file(from: &Path, to: &Path, certificate: &Certificate, name: &str, timestamp: Option<&str>) -> Result<()> {
    if let Some(folder) = to.parent() {
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    }
    // osslsigncode writes no file that exists.
    if to.exists() {
        fs::remove_file(to).with_context(|| format!("cannot replace {}", to.display()))?;
    }
    let mut sign = tool("osslsigncode")?;
    sign.args(["sign", "-h", "sha256", "-n", name, "-certs"]).arg(&certificate.pem);
    sign.arg("-key").arg(&certificate.key);
    if let Some(url) = timestamp {
        sign.args(["-ts", url]);
    }
    output(sign.arg("-in").arg(from).arg("-out").arg(to))?;
    verify(to, certificate)
}

/// Verifies that `image` is signed by `certificate`.
fn verify(image: &Path, certificate: &Certificate) -> Result<()> {
    let mut verify = tool("osslsigncode")?;
    output(verify.arg("verify").arg("-CAfile").arg(&certificate.pem).arg("-in").arg(image))?;
    Ok(())
}

fn tool(name: &str) -> Result<Command> {
    match program(name) {
        Some(path) => Ok(Command::new(path)),
        None => bail!("{name} is not installed, which makes signatures; on Debian: apt-get install {name}"),
    }
}

#[cfg(test)]
mod tests {
    use driver_check::image::{self, Check, Expectations};

    use super::*;

    /// A folder of its own, gone when the test is over.
    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let folder = std::env::temp_dir().join(format!("wdk-linux-sign-{name}-{}", std::process::id()));
            fs::create_dir_all(&folder).unwrap();
            Self(folder)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    /// As much of a driver as a signature needs: headers, and a section of one page with nothing in it.
    fn image() -> Vec<u8> {
        let mut image = vec![0; 0x400];
        let mut write = |at: usize, value: u32| image[at..at + 4].copy_from_slice(&value.to_le_bytes());
        // Where the PE signature is, and the signature; x64 with one section; sizes of the optional header, flags.
        for (at, value) in [(0, 0x5a4d), (0x3c, 0x40), (0x40, 0x4550), (0x44, 0x0001_8664), (0x54, 0x2022_00f0)] {
            write(at, value);
        }
        // Format, entry point, alignments, sizes of image and headers, subsystem, number of directories.
        let optional =
            [(0, 0x20b), (16, 0x1000), (32, 0x1000), (36, 0x200), (56, 0x2000), (60, 0x200), (68, 1), (108, 16)];
        for (at, value) in optional {
            write(0x58 + at, value);
        }
        // Size and place in memory and in the file, and what it holds: code.
        for (at, value) in [(8, 0x200), (12, 0x1000), (16, 0x200), (20, 0x200), (36, 0x6000_0020)] {
            write(0x148 + at, value);
        }
        image
    }

    fn tools_are_there() -> bool {
        let there = program("openssl").is_some() && program("osslsigncode").is_some();
        if !there {
            println!("openssl or osslsigncode is not installed: nothing is tested");
        }
        there
    }

    #[test]
    fn a_signed_driver_verifies_and_its_checksum_is_right() {
        if !tools_are_there() {
            return;
        }
        let folder = Folder::new("good");
        let (driver, signed) = (folder.0.join("sluice.sys"), folder.0.join("signed/sluice.sys"));
        fs::write(&driver, image()).unwrap();
        let certificate = certificate(&folder.0, "sluice").unwrap();
        sign_file(&driver, &signed, &certificate, "Sluice", None).unwrap();
        sign_file(&driver, &signed, &certificate, "Sluice", None).expect("a second time replaces the first");

        let checksum = |file| {
            let found = image::check_file(file, &Expectations::default()).unwrap();
            found.into_iter().find(|finding| finding.check == Check::Checksum)
        };
        assert!(checksum(&driver).is_some(), "it has none yet");
        assert_eq!(checksum(&signed), None);
        assert_ne!(fs::read(&driver).unwrap(), fs::read(&signed).unwrap());
    }

    #[test]
    fn a_driver_that_was_changed_after_it_was_signed_does_not_verify() {
        if !tools_are_there() {
            return;
        }
        let folder = Folder::new("changed");
        let (driver, signed) = (folder.0.join("sluice.sys"), folder.0.join("signed.sys"));
        fs::write(&driver, image()).unwrap();
        let certificate = certificate(&folder.0, "sluice").unwrap();
        sign_file(&driver, &signed, &certificate, "Sluice", None).unwrap();
        let mut bytes = fs::read(&signed).unwrap();
        bytes[0x400] ^= 1;
        fs::write(&signed, bytes).unwrap();
        verify(&signed, &certificate).unwrap_err();
        verify(&driver, &certificate).expect_err("and one that was never signed does not either");
    }

    #[test]
    fn the_certificate_is_made_once() {
        if !tools_are_there() {
            return;
        }
        let folder = Folder::new("once");
        let first = fs::read(certificate(&folder.0, "sluice").unwrap().der).unwrap();
        assert_eq!(fs::read(certificate(&folder.0, "sluice").unwrap().der).unwrap(), first);
        let text = output(
            Command::new("openssl")
                .args(["x509", "-inform", "der", "-noout", "-text", "-in"])
                .arg(folder.0.join("sluice.cer")),
        );
        let text = text.unwrap();
        assert!(text.contains("Code Signing") && text.contains("CA:FALSE"), "{text}");
    }
}
