//! Tells cargo how a driver is linked, and gives it its version resource.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    wdk_build::configure_wdk_binary_build()?;
    // What wdk-build and rustc leave out: the checksum that the kernel verifies, and a hash of the image in the place
    // of the time of day, so that the same source makes the same bytes.
    for argument in ["/RELEASE", "/Brepro"] {
        println!("cargo::rustc-cdylib-link-arg={argument}");
    }
    version_resource::link()
}
