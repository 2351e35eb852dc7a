fn main() {
    let out = std::env::var_os("OUT_DIR").unwrap_or_default();
    let _ = std::fs::write(std::path::Path::new(&out).join("guest.elf"), []);
}
