//! Dockerfiles and what is read from them.

use proptest::prelude::*;
use tare_dockerfile::{Kind, parse, parse_trigger};

const WHOLE: &str = r#"# syntax=docker/dockerfile:1
# escape=\
ARG BASE=busybox
FROM --platform=linux/amd64 ${BASE}:1.29 AS Build
# a comment
ENV A=1 B="two words" C=three\ words
ENV OLD form of it
LABEL a.b="c d"
ARG X Y=1
RUN echo one && \
    # in between
    echo two
RUN ["echo", "three"]
RUN --mount=type=cache,target=/c --mount=type=tmpfs,dst=/t <<EOF
echo four
EOF
RUN cat <<A >/a && cat <<-"B" >/b
from a $X
A
	from b
	B
COPY --from=0 --chown=1:2 a b* /x/
COPY <<one <<"two" /y/
1 $A
one
2 $A
two
ADD ["a b", "/c d"]
EXPOSE 80 53/udp
VOLUME /v /w
VOLUME ["/z"]
USER me
WORKDIR /here
STOPSIGNAL SIGQUIT
SHELL ["/bin/bash", "-c"]
HEALTHCHECK --interval=5s --retries=3 CMD wget -q localhost
HEALTHCHECK NONE
MAINTAINER someone
ONBUILD COPY . /app
FROM scratch
COPY --from=build /x /
CMD ["x"]
ENTRYPOINT exec it
"#;

#[test]
fn a_whole_file() {
    insta::assert_debug_snapshot!(parse(WHOLE).unwrap());
}

#[test]
fn mistakes_have_dockers_words() {
    let files = [
        "",
        "# nothing",
        "RUN x",
        "FROM",
        "FROM a b",
        "FROM a AS 1x",
        "FROM a\nRUNN x",
        "FROM a\nFROBNICATE x",
        "FROM a\nENV A",
        "FROM a\nENV A=1 B",
        "FROM a\nENV =1",
        "FROM a\nLABEL",
        "FROM a\nCOPY x",
        "FROM a\nCOPY --form=x a b",
        "FROM a\nCOPY --from a b",
        "FROM a\nCOPY --from=a --from=b a b",
        "FROM a\nCOPY a <<EOF\nEOF",
        "FROM a\nCOPY <<EOF /x\nno end",
        "FROM a\nCMD [1]",
        "FROM a\nSHELL bash -c",
        "FROM a\nSHELL []",
        "FROM a\nUSER",
        "FROM a\nHEALTHCHECK",
        "FROM a\nHEALTHCHECK FOO x",
        "FROM a\nHEALTHCHECK CMD",
        "FROM a\nHEALTHCHECK --interval=1us CMD x",
        "FROM a\nHEALTHCHECK --retries=-1 CMD x",
        "FROM a\nHEALTHCHECK NONE x",
        "FROM a\nONBUILD FROM x",
        "FROM a\nONBUILD ONBUILD RUN x",
        "FROM a\nVOLUME [\"\"]",
        "FROM a\nRUN --mount=type=bind x",
        "# escape=x\nFROM a",
        "# escape=`\n# escape=`\nFROM a",
    ];
    let said: Vec<String> = files
        .iter()
        .map(|file| format!("{file:?}: {}", parse(file).map_or_else(|error| error.to_string(), |f| format!("{f:?}"))))
        .collect();
    insta::assert_snapshot!(said.join("\n"));
}

#[test]
fn the_escape_can_be_a_backquote() {
    let file = parse("# escape=`\nFROM a\nRUN a `\n b\\\nCMD x").unwrap();
    let sources: Vec<&str> = file.stages.first().unwrap().instructions.iter().map(|i| i.source.as_str()).collect();
    assert_eq!(sources, ["RUN a  b\\", "CMD x"]);
}

#[test]
fn empty_lines_in_continuations_are_warned_of() {
    let file = parse("FROM a\nRUN a \\\n\n b").unwrap();
    assert_eq!(file.warnings, ["Empty continuation line found in: RUN a  b"]);
}

#[test]
fn triggers_are_one_instruction() {
    assert!(matches!(parse_trigger("RUN x").unwrap().kind, Kind::Run(_)));
    assert!(parse_trigger("RUN x\nRUN y").is_err());
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused(text in "(FROM|RUN|COPY|ENV|ADD|ARG|HEALTHCHECK|ONBUILD|#| |\n|\\\\|\"|'|<<|EOF|\\$|\\{|\\}|[a-z=-]|\\[|\\]|,|\\PC){0,80}") {
        let _ = parse(&text);
    }

    #[test]
    fn any_word_is_expanded_or_refused(text in "(\\$|\\{|\\}|:|-|\\+|\\?|#|%|/|\\*|'|\"|\\\\|A|\\PC){0,40}") {
        let expander = tare_dockerfile::Expander::new('\\', &["A=some value"]);
        let _ = (expander.word(&text), expander.words(&text), expander.document(&text));
    }
}
