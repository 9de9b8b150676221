//! `--ulimit name=soft[:hard]`.

use tare_docker_api::container::Ulimit;

use super::{Parsed, invalid, number};

/// Names of limits (setrlimit(2)) that containers may have.
const NAMES: [&str; 15] = [
    "core",
    "cpu",
    "data",
    "fsize",
    "locks",
    "memlock",
    "msgqueue",
    "nice",
    "nofile",
    "nproc",
    "rss",
    "rtprio",
    "rttime",
    "sigpending",
    "stack",
];

/// Reads one limit; without a hard one, the soft one is both. -1 is unlimited.
pub fn parse(spec: &str) -> Parsed<Ulimit> {
    let Some((name, limits)) = spec.split_once('=') else {
        return invalid(format_args!("invalid ulimit argument: {spec}"));
    };
    if !NAMES.contains(&name) {
        return invalid(format_args!("invalid ulimit type: {name}"));
    }
    let parts: Vec<&str> = limits.split(':').collect();
    let (soft, hard) = match parts[..] {
        [soft] => {
            let soft = number::int(soft)?;
            (soft, soft)
        }
        [soft, hard] => {
            let hard = number::int(hard)?;
            (number::int(soft)?, hard)
        }
        _ => {
            return invalid(format_args!(
                "too many limit value arguments - {limits}, can only have up to two, `soft[:hard]`"
            ));
        }
    };
    const ORDER: &str = "ulimit soft limit must be less than or equal to hard limit";
    if hard != -1 && soft == -1 {
        return invalid(format_args!("{ORDER}: soft: -1 (unlimited), hard: {hard}"));
    }
    if hard != -1 && soft > hard {
        return invalid(format_args!("{ORDER}: {soft} > {hard}"));
    }
    Ok(Ulimit { name: name.to_owned(), hard, soft })
}

/// Reads all limits; the last of a name counts; sorted by name.
pub fn parse_all(specs: &[String]) -> Parsed<Vec<Ulimit>> {
    let mut out = std::collections::BTreeMap::new();
    for spec in specs {
        let limit = parse(spec)?;
        out.insert(limit.name.clone(), limit);
    }
    Ok(out.into_values().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits() {
        let of = |spec| parse(spec).map(|l| (l.soft, l.hard)).map_err(|e| e.0);
        assert_eq!(of("nofile=1024"), Ok((1024, 1024)));
        assert_eq!(of("nofile=1024:2048"), Ok((1024, 2048)));
        assert_eq!(of("core=0:-1"), Ok((0, -1)));
        assert_eq!(of("core=-1"), Ok((-1, -1)));
        let fail = |spec| of(spec).unwrap_err();
        insta::assert_snapshot!(fail("foo"), @"invalid ulimit argument: foo");
        insta::assert_snapshot!(fail("foo=1"), @"invalid ulimit type: foo");
        insta::assert_snapshot!(fail("nofile=x"), @r#"strconv.ParseInt: parsing "x": invalid syntax"#);
        insta::assert_snapshot!(fail("nofile=10:5"), @"ulimit soft limit must be less than or equal to hard limit: 10 > 5");
        insta::assert_snapshot!(fail("nofile=-1:5"), @"ulimit soft limit must be less than or equal to hard limit: soft: -1 (unlimited), hard: 5");
        insta::assert_snapshot!(fail("nofile=1:2:3"), @"too many limit value arguments - 1:2:3, can only have up to two, `soft[:hard]`");
        let all = parse_all(&["nproc=3".into(), "core=1".into(), "nproc=4".into()]).unwrap();
        assert_eq!(all.iter().map(|l| (l.name.as_str(), l.soft)).collect::<Vec<_>>(), [("core", 1), ("nproc", 4)]);
    }

    proptest::proptest! {
        #[test]
        fn nothing_panics(spec in "(nofile=)?[0-9:x-]{0,25}") {
            let _ = parse(&spec);
        }
    }
}
