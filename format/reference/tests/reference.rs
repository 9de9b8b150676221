//! The distribution project's table of names, and properties.

use insta::assert_snapshot;
use proptest::prelude::*;
use tare_reference::{AnyReference, Digest, DigestError, Reference, ReferenceError, glob::path_match};

const HEX: &str = "7cc4b5aefd1d0cadf8d97d4350462ba51c694ebca145b08d7d41b41acc8db5aa";

fn canonical(s: &str) -> String {
    match Reference::parse_normalized(s) {
        Ok(r) => r.to_string(),
        Err(e) => format!("ERROR {e}"),
    }
}

#[test]
fn names_are_normalised() {
    let cases = [
        "busybox",
        "busybox:1.36",
        "library/busybox",
        "user/app",
        "docker.io/busybox",
        "index.docker.io/busybox",
        "docker.io/user/app:v1",
        "localhost/app",
        "localhost:5000/app:v1",
        "127.0.0.1:5000/a/b/c",
        "[2001:db8::1]:5000/repo:tag",
        "[2001:db8::1]/repo",
        "Registry/app",
        "example.com/a__b/c---d.e_f",
        "foo_bar.com:8080",
        "xn--n3h.com/myimage",
    ];
    assert_snapshot!(cases.map(|c| format!("{c} => {}", canonical(c))).join("\n"), @"
    busybox => docker.io/library/busybox
    busybox:1.36 => docker.io/library/busybox:1.36
    library/busybox => docker.io/library/busybox
    user/app => docker.io/user/app
    docker.io/busybox => docker.io/library/busybox
    index.docker.io/busybox => docker.io/library/busybox
    docker.io/user/app:v1 => docker.io/user/app:v1
    localhost/app => localhost/app
    localhost:5000/app:v1 => localhost:5000/app:v1
    127.0.0.1:5000/a/b/c => 127.0.0.1:5000/a/b/c
    [2001:db8::1]:5000/repo:tag => [2001:db8::1]:5000/repo:tag
    [2001:db8::1]/repo => [2001:db8::1]/repo
    Registry/app => Registry/app
    example.com/a__b/c---d.e_f => example.com/a__b/c---d.e_f
    foo_bar.com:8080 => docker.io/library/foo_bar.com:8080
    xn--n3h.com/myimage => xn--n3h.com/myimage
    ");
}

#[test]
fn bad_names_are_refused_with_dockers_words() {
    let long = format!("a/{}", "a".repeat(254));
    let tag = format!("a:{}", "t".repeat(129));
    let short = format!("busybox@sha256:{}", &HEX[..40]);
    let unknown = format!("busybox@md9:{HEX}");
    let upper = format!("busybox@sha256:{}", HEX.to_uppercase());
    let cases = [
        "",
        ":latest",
        "a:",
        "a@",
        "BusyBox",
        "user/App:v1",
        "a//b",
        "/a",
        "a/",
        "-a",
        "a___b",
        "a..b",
        "a b",
        "a:b:c",
        "a@b@c",
        "https://x.org/a",
        "[fe80::1%eth0]/repo",
        "[::1/repo",
        "example.com:x/a",
        "x.org./a",
        HEX,
        &long,
        &tag,
        &short,
        &unknown,
        &upper,
        "busybox@sha256:12",
        "añb",
        "a.b_c/foo",
    ];
    assert_snapshot!(cases.map(|c| format!("{:.24} => {:.120}", c, canonical(c))).join("\n"), @"
     => ERROR invalid reference format
    :latest => ERROR invalid reference format
    a: => ERROR invalid reference format
    a@ => ERROR invalid reference format
    BusyBox => ERROR invalid reference format: repository name (library/BusyBox) must be lowercase
    user/App:v1 => ERROR invalid reference format: repository name (user/App) must be lowercase
    a//b => ERROR invalid reference format
    /a => ERROR invalid reference format
    a/ => ERROR invalid reference format
    -a => ERROR invalid reference format
    a___b => ERROR invalid reference format
    a..b => ERROR invalid reference format
    a b => ERROR invalid reference format
    a:b:c => ERROR invalid reference format
    a@b@c => ERROR invalid reference format
    https://x.org/a => ERROR invalid reference format
    [fe80::1%eth0]/repo => ERROR invalid reference format
    [::1/repo => ERROR invalid reference format
    example.com:x/a => ERROR invalid reference format
    x.org./a => ERROR invalid reference format
    7cc4b5aefd1d0cadf8d97d43 => ERROR invalid repository name (7cc4b5aefd1d0cadf8d97d4350462ba51c694ebca145b08d7d41b41acc8db5aa), cannot specify 64-byte
    a/aaaaaaaaaaaaaaaaaaaaaa => ERROR repository name must not be more than 255 characters
    a:tttttttttttttttttttttt => ERROR invalid reference format
    busybox@sha256:7cc4b5aef => ERROR invalid checksum digest length
    busybox@md9:7cc4b5aefd1d => ERROR unsupported digest algorithm
    busybox@sha256:7CC4B5AEF => ERROR invalid checksum digest format
    busybox@sha256:12 => ERROR invalid reference format
    añb => ERROR invalid reference format
    a.b_c/foo => ERROR invalid reference format
    ");
}

#[test]
fn tag_and_digest_come_apart() {
    let r = Reference::parse_normalized(&format!("quay.io/a/b:v1@sha256:{HEX}")).unwrap();
    assert_eq!((r.domain(), r.path(), r.tag()), ("quay.io", "a/b", Some("v1")));
    assert_eq!(r.digest().map(Digest::hex), Some(HEX));
    assert_eq!(r.clone().with_default_tag(), r);
    assert_eq!(r.with_tag("v2").unwrap().familiar(), "quay.io/a/b:v2");
    assert_eq!(r.with_tag("bad tag"), Err(ReferenceError::Tag));
    assert_eq!(r.name_only().with_default_tag().tag(), Some("latest"));
}

#[test]
fn the_familiar_form_is_short_where_it_can_be() {
    for (given, familiar) in [
        ("docker.io/library/busybox:latest", "busybox:latest"),
        ("docker.io/user/app", "user/app"),
        ("docker.io/library/a/b", "library/a/b"),
        ("localhost:5000/library/busybox", "localhost:5000/library/busybox"),
    ] {
        assert_eq!(Reference::parse_normalized(given).unwrap().familiar(), familiar);
    }
}

#[test]
fn identifiers_are_ids() {
    let id = AnyReference::Id(Digest::parse(&format!("sha256:{HEX}")).unwrap());
    assert_eq!(Reference::parse_any(HEX).unwrap(), id);
    assert_eq!(Reference::parse_any(&format!("sha256:{HEX}")).unwrap(), id);
    assert_eq!(Reference::parse_any("deadbeef").unwrap().to_string(), "deadbeef");
}

#[test]
fn digests_are_checked() {
    assert_eq!(Digest::parse("sha256:abc"), Err(DigestError::Length));
    assert_eq!(Digest::parse("abc"), Err(DigestError::Format));
    assert_eq!(Digest::parse("crc32:abcd"), Err(DigestError::Unsupported));
    assert_eq!(Digest::parse(&format!("sha256:{}", "G".repeat(64))), Err(DigestError::Format));
    let parsed = Digest::parse(&format!("sha256:{HEX}")).unwrap();
    assert_eq!((parsed.algorithm(), parsed.short()), ("sha256", "7cc4b5aefd1d"));
    assert_eq!(Digest::from_sha256(&[0xab; 32]).hex(), "ab".repeat(32));
}

#[test]
fn patterns_match_like_go() {
    for (pattern, name, expected) in [
        ("busybox", "busybox", true),
        ("busy*", "busybox", true),
        ("*box", "busybox", true),
        ("*:latest", "busybox:latest", true),
        ("*", "user/app", false),
        ("*/*", "user/app", true),
        ("b?sy[a-c]ox", "busybox", true),
        ("b?sy[^a-c]ox", "busybox", false),
        ("a\\*", "a*", true),
        ("a*b*c", "axxbxxbc", true),
        ("a*/b", "a/c/b", false),
        ("", "", true),
    ] {
        assert_eq!(path_match(pattern, name), Ok(expected), "{pattern} {name}");
    }
    for bad in ["[", "[a", "[]a]", "a\\", "[a-]", "[-]"] {
        assert!(path_match(bad, "a").is_err(), "{bad}");
    }
    let busybox = Reference::parse_normalized("busybox:1").unwrap();
    assert!(busybox.matches("busybox").unwrap() && busybox.matches("b*:1").unwrap());
}

proptest! {
    #[test]
    fn parsing_never_panics(s in "\\PC*") {
        let _ = Reference::parse_any(&s);
        let _ = path_match(&s, &s);
    }

    #[test]
    fn near_misses_never_panic(s in "[a-zA-Z0-9:/@.\\-_\\[\\]*?\\\\^]{0,80}") {
        let _ = Reference::parse_any(&s);
        let _ = path_match(&s, "docker.io/library/busybox");
    }

    #[test]
    fn canonical_and_familiar_forms_parse_to_the_same(
        domain in "((docker\\.io|localhost|[a-z0-9]{1,6}\\.[a-z]{2,3})(:[0-9]{1,5})?/)?",
        path in "[a-z0-9]{1,5}((\\.|_|__|-{1,3}|/)[a-z0-9]{1,5}){0,3}",
        tag in "(:[a-zA-Z0-9_][a-zA-Z0-9_.-]{0,10})?",
        digest in "(@sha256:[0-9a-f]{64})?",
    ) {
        let text = format!("{domain}{path}{tag}{digest}");
        // without a domain, `a_b.c/d` reads as a repository of a registry with an impossible name
        let Ok(parsed) = Reference::parse_normalized(&text) else {
            prop_assume!(domain.is_empty());
            return Ok(());
        };
        prop_assert_eq!(&Reference::parse_normalized(&parsed.to_string()).unwrap(), &parsed);
        prop_assert_eq!(&Reference::parse_normalized(&parsed.familiar()).unwrap(), &parsed);
        prop_assert_eq!(parsed.tag().unwrap_or_default(), tag.trim_start_matches(':'));
        prop_assert_eq!(parsed.digest().map_or("", Digest::as_str), digest.trim_start_matches('@'));
    }
}
