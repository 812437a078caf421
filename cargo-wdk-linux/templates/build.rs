//! Tells cargo how the driver is linked, and gives it its version resource.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    wdk_build::configure_wdk_binary_build()?;
    // The checksum that the kernel verifies, and no time of day: the same source makes the same bytes.
    for argument in ["/RELEASE", "/Brepro"] {
        println!("cargo::rustc-cdylib-link-arg={argument}");
    }
    // Product, company, copyright. Version and description are those of Cargo.toml.
    version_resource::link_as("NAME", "The authors of NAME", "Copyright the authors of NAME.")
}
