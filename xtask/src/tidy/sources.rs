//! Files: small enough to read, introduced by what they are about, without loose ends, and safe.

use super::Violation;
use super::rust;

/// Lines of a file; beyond it is several things at once.
const FILE_LINES: usize = 1000;
/// Lines of code of a function, signature included.
const FUNCTION_LINES: usize = 70;
/// The only place for unsafe code.
const UNSAFE: &str = "kernel/sys/";
/// Says that there is none.
const FORBID: &str = "#![forbid(unsafe_code)]";
/// Notes of unfinished work: it is finished, or an issue.
const LOOSE_ENDS: [&str; 2] = [concat!("TO", "DO"), concat!("FIX", "ME")];
/// Kinds of files in which people write.
const TEXTS: [&str; 6] = [".rs", ".toml", ".md", ".sh", ".yaml", ".yml"];
/// What snapshot tests leave behind when they fail.
const LEFTOVERS: [&str; 2] = [".pending-snap", ".snap.new"];

/// Everything about one file.
pub fn check(path: &str, text: &str) -> Vec<Violation> {
    let mut violations = Vec::new();
    if LEFTOVERS.iter().any(|suffix| path.ends_with(suffix)) {
        violations.push(Violation::new(path, 0, "is a leftover of a failed test"));
    }
    if TEXTS.iter().any(|suffix| path.ends_with(suffix)) {
        for word in LOOSE_ENDS {
            violations.extend(rust::words(text, word).map(|(_, line)| Violation::new(path, line, word)));
        }
    }
    if path.ends_with(".rs") {
        violations.extend(check_rust(path, text));
    }
    violations
}

fn check_rust(path: &str, text: &str) -> Vec<Violation> {
    let mut violations = Vec::new();
    let count = text.lines().count();
    if count > FILE_LINES {
        violations.push(Violation::new(path, 0, format!("{count} lines, more than {FILE_LINES}")));
    }
    if !text.starts_with("//!") {
        violations.push(Violation::new(path, 1, "does not open with `//!`"));
    }
    let code = rust::code(text);
    for function in rust::functions(&code).into_iter().filter(|function| function.length > FUNCTION_LINES) {
        let message = format!("`{}` has {} lines of code, more than {FUNCTION_LINES}", function.name, function.length);
        violations.push(Violation::new(path, function.line, message));
    }
    if !path.starts_with(UNSAFE) {
        violations.extend(rust::words(&code, "unsafe").map(|(_, line)| Violation::new(path, line, "unsafe code")));
        let is_crate = ["src/lib.rs", "src/main.rs"].iter().any(|root| path.ends_with(root));
        if is_crate && !code.contains(FORBID) {
            violations.push(Violation::new(path, 0, format!("does not say `{FORBID}`")));
        }
    }
    violations
}

#[cfg(test)]
mod tests {
    use super::*;

    fn show(path: &str, text: &str) -> Vec<String> {
        check(path, text).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_good_file() {
        let text = "//! Good.\n#![forbid(unsafe_code)]\n\nfn f() {}\n";
        assert!(show("engine/x/src/lib.rs", text).is_empty());
    }

    #[test]
    fn sizes() {
        let text = format!("//! Long.\nfn f() {{\n{}}}\n", "    x();\n".repeat(FUNCTION_LINES - 2));
        assert!(show("a/src/b.rs", &text).is_empty());
        let text = text.replacen("    x();\n", "    x();\n    x();\n", 1);
        assert_eq!(show("a/src/b.rs", &text), ["a/src/b.rs:2: `f` has 71 lines of code, more than 70"]);
        let text = format!("//! Long.\n{}", "\n".repeat(FILE_LINES));
        assert_eq!(show("a/src/b.rs", &text), ["a/src/b.rs: 1001 lines, more than 1000"]);
    }

    #[test]
    fn openings_and_loose_ends() {
        let text = format!("use x;\n// {}: later\n", LOOSE_ENDS[0]);
        assert_eq!(show("a/src/b.rs", &text).len(), 2);
        assert_eq!(show("docs/x.md", &text).len(), 1);
        assert!(show("docs/x.json", &text).is_empty());
        assert_eq!(show("a/.b.rs.pending-snap", ""), ["a/.b.rs.pending-snap: is a leftover of a failed test"]);
    }

    #[test]
    fn unsafe_code_lives_in_one_place() {
        let text = "//! x\n#![forbid(unsafe_code)]\nfn f() { unsafe { g() } } // unsafe\n";
        assert_eq!(show("a/src/lib.rs", text), ["a/src/lib.rs:3: unsafe code"]);
        assert!(show("kernel/sys/src/lib.rs", "//! x\nunsafe fn f() {}\n").is_empty());
        assert_eq!(show("a/src/main.rs", "//! x\n"), ["a/src/main.rs: does not say `#![forbid(unsafe_code)]`"]);
    }
}
