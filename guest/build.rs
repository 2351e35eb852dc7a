//! Passes the image's link arguments, only when the image is what is built.

fn main() {
    println!("cargo::rerun-if-changed=src/machine/image.ld");
    println!("cargo::rerun-if-changed=build.rs");
    if std::env::var_os("CARGO_FEATURE_IMAGE").is_none() {
        return;
    }
    let dir = std::env::var("CARGO_MANIFEST_DIR").unwrap_or_default();
    let script = format!("-T{dir}/src/machine/image.ld");
    let args = [
        "-nostartfiles",
        "-nostdlib",
        "-static",
        "-no-pie",
        // The prebuilt `alloc` names them; nothing unwinds here.
        "-Wl,--defsym=rust_eh_personality=0",
        "-Wl,--defsym=_Unwind_Resume=0",
        "-Wl,--build-id=none",
        "-Wl,-z,max-page-size=0x1000",
        "-Wl,-z,noexecstack",
        script.as_str(),
    ];
    for arg in args {
        println!("cargo::rustc-link-arg-bin=bpfvisor-guest={arg}");
    }
}
