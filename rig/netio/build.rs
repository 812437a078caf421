//! Says in the file's version resource what it is.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    version_resource::link()
}
