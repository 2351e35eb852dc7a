//! Object files.

use bpfvisor::object::ObjectFile;

pub(super) fn run(data: &[u8]) -> bool {
    let Ok(mut object) = ObjectFile::parse("fuzz", data) else {
        return false;
    };
    let maps: Vec<String> = object.maps().map(String::from).collect();
    let _ = object.license();
    for name in maps {
        if let Ok(size) = object.global_size(&name) {
            let _ = object.set_global(&name, &vec![1; size]);
        }
    }
    object.programs().count() > 0
}

pub(super) fn seeds() -> Vec<Vec<u8>> {
    let folder = crate::root().join("resources/programs");
    let files = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let objects = files.filter(|f| f.path().extension().is_some_and(|e| e == "o"));
    objects
        .filter_map(|f| std::fs::read(f.path()).ok())
        .collect()
}
