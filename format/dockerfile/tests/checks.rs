//! Docker's build checks.

use tare_dockerfile::checks::{Settings, check};
use tare_dockerfile::parse;

/// `rule line`, for each finding.
fn found(text: &str, ignored: &[&str], settings: &str) -> Vec<String> {
    let ignored: Vec<String> = ignored.iter().map(|text| (*text).to_owned()).collect();
    let settings = Settings::parse(settings).unwrap();
    let all = check(&parse(text).unwrap(), &ignored, &settings);
    all.iter().map(|finding| format!("{} {}", finding.rule.name, finding.line)).collect()
}

#[test]
fn nothing_is_said_about_what_is_meant() {
    let text = "ARG BASE=busybox\nARG TAG\nFROM --platform=$BUILDPLATFORM ${BASE} AS one\nWORKDIR /a\nWORKDIR b\n\
        ENV PUBLIC_KEY=x A=b\nARG KEYS\nLABEL a=b\nSHELL [\"/bin/sh\", \"-c\"]\nCMD echo\nEXPOSE 80 $PORT/tcp\nCOPY kept /\n\
        FROM one\nWORKDIR c\nCMD [\"x\"]\nFROM busybox:${TAG:-1}\nFROM scratch\nCOPY --from=one ignored /\n";
    assert_eq!(found(text, &["ignored"], ""), [""; 0]);
}

#[test]
fn each_rule() {
    for (text, rule) in [
        ("FROM a AS Upper\n", "StageNameCasing 1"),
        ("FROM a as b\n", "FromAsCasing 1"),
        ("FROM a\nRUN x \\\n\n  y\n", "NoEmptyContinuation 2"),
        ("FROM a\nCOPY a /\nrun x\n", "ConsistentInstructionCasing 3"),
        ("FROM a AS b\nFROM a AS b\n", "DuplicateStageName 2"),
        ("FROM a AS context\n", "ReservedStageName 1"),
        ("FROM a\nENTRYPOINT x\n", "JSONArgsRecommended 2"),
        ("FROM a\nMAINTAINER x\n", "MaintainerDeprecated 2"),
        ("FROM a$B\n", "UndefinedArgInFrom 1"),
        ("ARG B\nFROM $B\n", "InvalidDefaultArgInFrom 2"),
        ("FROM a\nWORKDIR x\nWORKDIR y\n", "WorkdirRelativePath 2"),
        ("FROM a\nCMD [\"x\"]\nCMD [\"y\"]\n", "MultipleInstructionsDisallowed 2"),
        ("FROM a\nENV a b\n", "LegacyKeyValueFormat 2"),
        ("FROM --platform=$TARGETPLATFORM a\n", "RedundantTargetPlatform 1"),
        ("FROM --platform=linux/amd64 a\n", "FromPlatformFlagConstDisallowed 1"),
        ("FROM a\nARG NPM_TOKEN\n", "SecretsUsedInArgOrEnv 2"),
        ("FROM a\nCOPY ./gone/x /\n", "CopyIgnoredFile 2"),
        ("FROM a\nEXPOSE 80/TCP\n", "ExposeProtoCasing 2"),
        ("FROM a\nEXPOSE 1.2.3.4:80:80\n", "ExposeInvalidFormat 2"),
    ] {
        assert_eq!(found(text, &["gone"], ""), [rule], "{text}");
        let name = rule.split(' ').next().unwrap();
        assert_eq!(found(text, &["gone"], &format!("skip={name}")), [""; 0], "{text}");
    }
}

#[test]
fn settings() {
    let of = |text: &str| Settings::parse(text);
    assert!(of("skip=all;error=true").is_ok_and(|settings| settings.skip_all && settings.is_error));
    assert_eq!(of("skip=A, B").unwrap().skip, ["A", "B"]);
    assert_eq!(of("x=y").unwrap_err(), "invalid check option \"x\"");
    assert!(of("error=x").is_err() && of("skip").is_err());
    // What may come along after all is not said to be left out.
    assert_eq!(found("FROM a\nCOPY gone/x /\n", &["gone", "!gone/x"], ""), [""; 0]);
    let rule = check(&parse("FROM a as b\n").unwrap(), &[], &Settings::default())[0].rule;
    assert_eq!(rule.url(), "https://docs.docker.com/go/dockerfile/rule/from-as-casing/");
}
