//! Tells cargo how a driver is linked, and gives it its version resource.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    wdk_build::configure_wdk_binary_build()?;
    version_resource::link()
}
