//! Says how the image is linked for ARM64, where no C run-time library knows of DLLs.

fn main() {
    if std::env::var("CARGO_CFG_TARGET_ENV").is_ok_and(|environment| environment == "msvc") {
        // The loader calls it; that of programs, which is linked with the rest of the library, is never called.
        for argument in ["/ENTRY:DllMain", "/ALTERNATENAME:main=DllMain"] {
            println!("cargo::rustc-cdylib-link-arg={argument}");
        }
    }
    println!("cargo::rerun-if-changed=build.rs");
}
