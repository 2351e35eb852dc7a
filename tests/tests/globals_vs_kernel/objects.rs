//! What clang makes of `resources/objects/globals.c`.

use bpfvisor::object::{LoadOptions, ObjectFile};
use bpfvisor::{Error, Rejection, Vm};
use bpfvisor_tests::kernel_object::{KernelObject, Refused};
use bpfvisor_tests::root;

fn vm() -> Vm {
    let vm = Vm::builder().memory(64 << 20).boot();
    vm.unwrap_or_else(|e| panic!("this test needs a usable /dev/kvm: {e}"))
}

fn path() -> std::path::PathBuf {
    root().join("resources/objects/globals.o")
}

fn packet(len: usize) -> Vec<u8> {
    (0..len).map(|n| n as u8).collect()
}

fn load(vm: &Vm, name: &str, log_level: u32) -> Result<bpfvisor::Program, Box<Rejection>> {
    let options = LoadOptions {
        programs: vec![name.into()],
        log_level,
        ..LoadOptions::default()
    };
    let file = ObjectFile::open(path()).unwrap();
    match file.load(vm, &options) {
        Ok(object) => Ok(object.program(name).unwrap().clone()),
        Err(Error::Program(r)) => Err(r),
        Err(e) => panic!("{name}: {e}"),
    }
}

/// Source lines and what is said of functions.
fn told(log: &str) -> Vec<&str> {
    let telling = |l: &&str| {
        let function = ["Func#", "Validating ", "Caller ", "Global "];
        l.starts_with("; ") || function.iter().any(|f| l.starts_with(f))
    };
    log.lines().filter(telling).collect()
}

#[test]
fn verdicts_results_and_lines_are_the_kernels() {
    let (vm, kernel) = (vm(), KernelObject::load(&path()).unwrap());
    let names: Vec<String> = ObjectFile::open(path())
        .unwrap()
        .programs()
        .map(|p| p.name.to_owned())
        .collect();
    assert!(names.len() >= 9);
    for name in names.into_iter().filter(|n| n != "follows") {
        let theirs = kernel.load_program(&name).unwrap();
        let ours = load(&vm, &name, 1);
        match (theirs, ours) {
            (Ok(theirs), Ok(ours)) => {
                assert!(!name.starts_with("bad_"), "{name} was accepted");
                for len in [60, 61, 200] {
                    let (here, there) = (ours.run(&packet(len)), theirs.run(&packet(len)));
                    assert_eq!(here.unwrap().retval, there.unwrap().retval, "{name}");
                }
            }
            (Err(Refused { errno, log }), Err(ours)) => {
                assert!(name.starts_with("bad_"), "{name}: {ours}");
                assert_eq!(ours.errno, errno, "{name}: {ours}");
                assert_eq!(told(&ours.log), told(&log), "{name}\n{}\n{log}", ours.log);
                assert!(told(&log).iter().any(|l| l.contains("@ globals.c:")));
            }
            (theirs, ours) => {
                let theirs = theirs.map(drop).map_err(|r| r.log);
                let ours = ours.map(drop).map_err(|r| r.log);
                panic!("{name}: the kernel says {theirs:?}, we {ours:?}");
            }
        }
    }
}

/// As libbpf has it. (aya, which loads for the kernel here, takes no notice.)
#[test]
fn hidden_functions_are_followed() {
    let program = load(&vm(), "follows", 0).unwrap_or_else(|r| panic!("{r}"));
    assert_eq!(program.run(&packet(60)).unwrap().retval, 1);
}

#[test]
fn the_error_names_the_line() {
    let refused = load(&vm(), "bad_result", 0).unwrap_err();
    let line = refused.line.as_deref().unwrap();
    assert!(line.starts_with("return data[n];"), "{line}");
    assert!(line.contains(" @ globals.c:"), "{line}");
    let text = refused.to_string();
    assert_eq!(text.lines().last(), Some(format!("; {line}").as_str()));
    assert_eq!(refused.log, "");
}
