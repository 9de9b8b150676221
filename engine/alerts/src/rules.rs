//! Whether an alert makes sense, and which of its words an event of the engine is.

use tare_docker_api::alert::{AlertSpec, EVENTS};
use tare_docker_api::filters::Filters;
use tare_engine::events::Event;
use url::Url;

use crate::error::Error;

/// Longest name, characters.
const NAME_MAX: usize = 64;
/// Most lines of log in a message.
const LINES_MAX: usize = 1000;
/// Most messages in a period: each of them is remembered.
const RATE_MAX: usize = 1000;

fn invalid<T>(text: impl Into<String>) -> Result<T, Error> {
    Err(Error::Invalid(text.into()))
}

/// Checks what was asked for; what is not said gets its default.
pub(crate) fn check(spec: &mut AlertSpec) -> Result<(), Error> {
    let good = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
    if !spec.name.starts_with(|c: char| c.is_ascii_alphanumeric())
        || !spec.name.chars().all(good)
        || spec.name.len() > NAME_MAX
    {
        return invalid(format!(
            "invalid alert name {:?}: only [a-zA-Z0-9][a-zA-Z0-9_.-]* is allowed, up to {NAME_MAX} characters",
            spec.name
        ));
    }
    if spec.on.is_empty() {
        return invalid(format!("an alert needs at least one event: {}", EVENTS.join(", ")));
    }
    for word in &spec.on {
        if !EVENTS.contains(&word.as_str()) {
            return invalid(format!("unknown event {word:?}: must be one of {}", EVENTS.join(", ")));
        }
    }
    if let Some(images) = spec.containers.remove("image") {
        // A list of containers calls it so.
        spec.containers.entry("ancestor".to_owned()).or_default().extend(images);
    }
    if spec.lines > LINES_MAX {
        return invalid(format!("{} lines are too many: at most {LINES_MAX}", spec.lines));
    }
    if spec.rate.count > RATE_MAX || (spec.rate.count > 0 && spec.rate.period <= 0) {
        return invalid(format!("invalid rate: at most {RATE_MAX} messages in a period longer than nothing"));
    }
    check_target(spec)
}

fn check_target(spec: &AlertSpec) -> Result<(), Error> {
    let targets = [&spec.smtp, &spec.webhook, &spec.exec].iter().filter(|target| !target.is_empty()).count();
    if targets != 1 {
        return invalid(format!("an alert needs one target, SMTP, webhook or exec: {targets} given"));
    }
    if !spec.exec.is_empty() {
        return match shlex::split(&spec.exec) {
            Some(words) if !words.is_empty() => Ok(()),
            _ => invalid(format!("invalid command line {:?}: no words, or a quote that does not end", spec.exec)),
        };
    }
    let (text, schemes) = match spec.smtp.as_str() {
        "" => (&spec.webhook, ["http", "https"]),
        _ => (&spec.smtp, ["smtp", "smtps"]),
    };
    // The text may hold a password: the error does not repeat it.
    let url = Url::parse(text).map_err(|error| Error::Invalid(format!("invalid target URL: {error}")))?;
    if !schemes.contains(&url.scheme()) {
        return invalid(format!("unsupported scheme {:?}: must be {} or {}", url.scheme(), schemes[0], schemes[1]));
    }
    if url.host_str().unwrap_or_default().is_empty() {
        return invalid("invalid target URL: no host");
    }
    if spec.smtp.is_empty() {
        return if spec.to.is_empty() && spec.from.is_empty() {
            Ok(())
        } else {
            invalid("addresses are for SMTP only")
        };
    }
    if spec.to.is_empty() {
        return invalid("mail needs an address to go to");
    }
    for address in spec.to.iter().chain(Some(&spec.from).filter(|from| !from.is_empty())) {
        address
            .parse::<lettre::message::Mailbox>()
            .map_err(|error| Error::Invalid(format!("invalid mail address {address:?}: {error}")))?;
    }
    Ok(())
}

/// The filters of an alert.
pub(crate) fn filters(spec: &AlertSpec) -> Filters {
    let mut filters = Filters::default();
    for (name, values) in &spec.containers {
        for value in values {
            filters.add(name.clone(), value.clone());
        }
    }
    filters
}

/// An alert as it is shown: without what lets others into the target.
pub(crate) fn redacted(mut spec: AlertSpec) -> AlertSpec {
    for text in [&mut spec.smtp, &mut spec.webhook] {
        if let Ok(mut url) = Url::parse(text)
            && url.password().is_some()
            && url.set_password(Some("xxxxx")).is_ok()
        {
            *text = url.to_string();
        }
    }
    spec
}

/// The words for an event of a container. `restarts`: how often its policy has started it again.
pub(crate) fn words(event: &Event, restarts: u32, was_unhealthy: bool) -> Vec<&'static str> {
    match event.action.as_str() {
        "start" if restarts > 0 => vec!["start", "restart"],
        "health_status: unhealthy" => vec!["unhealthy"],
        "health_status: healthy" if was_unhealthy => vec!["health-recovered"],
        // Exits come with their record, see the engine's exit hook.
        "die" => Vec::new(),
        action => EVENTS.iter().copied().filter(|word| *word == action).collect(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn spec() -> AlertSpec {
        AlertSpec { name: "a".into(), on: vec!["die".into()], webhook: "http://h/x".into(), ..AlertSpec::default() }
    }

    fn fault(change: impl Fn(&mut AlertSpec)) -> String {
        let mut spec = spec();
        change(&mut spec);
        check(&mut spec).unwrap_err().to_string()
    }

    #[test]
    fn what_is_wrong_is_said() {
        assert!(check(&mut spec()).is_ok());
        assert!(fault(|s| s.name = "a b".into()).starts_with("invalid alert name \"a b\""));
        assert!(fault(|s| s.on = vec!["dies".into()]).starts_with("unknown event \"dies\": must be one of die, oom,"));
        assert!(fault(|s| s.on.clear()).starts_with("an alert needs at least one event"));
        assert!(fault(|s| s.exec = "x".into()).ends_with("2 given"));
        assert!(fault(|s| s.webhook.clear()).ends_with("0 given"));
        assert_eq!(fault(|s| s.webhook = "ftp://h".into()), "unsupported scheme \"ftp\": must be http or https");
        assert!(fault(|s| s.webhook = "h".into()).starts_with("invalid target URL: "));
        assert_eq!(fault(|s| s.to = vec!["a@b".into()]), "addresses are for SMTP only");
        let smtp = |s: &mut AlertSpec| (s.webhook, s.smtp) = (String::new(), "smtp://h".into());
        assert_eq!(fault(smtp), "mail needs an address to go to");
        assert!(fault(|s| (smtp(s), s.to = vec!["a".into()]).1).starts_with("invalid mail address \"a\""));
        assert!(fault(|s| (s.webhook, s.exec) = (String::new(), "say 'x".into())).starts_with("invalid command line"));
        assert!(fault(|s| s.rate.count = 1).starts_with("invalid rate"));
    }

    #[test]
    fn image_is_a_word_for_ancestor() {
        let mut spec = spec();
        spec.containers.entry("image".into()).or_default().insert("nginx".into());
        check(&mut spec).unwrap();
        assert_eq!(filters(&spec).get("ancestor").collect::<Vec<_>>(), ["nginx"]);
    }

    #[test]
    fn passwords_are_not_shown() {
        let mut spec = spec();
        spec.smtp = "smtp://me:secret@h:25".into();
        assert_eq!(redacted(spec).smtp, "smtp://me:xxxxx@h:25");
    }

    #[test]
    fn events_and_their_words() {
        let event = |action: &str| Event {
            kind: "container",
            action: action.into(),
            id: String::new(),
            attributes: BTreeMap::new(),
            time_ns: 0,
        };
        assert_eq!(words(&event("start"), 0, false), ["start"]);
        assert_eq!(words(&event("start"), 2, false), ["start", "restart"]);
        assert_eq!(words(&event("restart"), 0, false), ["restart"]);
        assert_eq!(words(&event("health_status: unhealthy"), 0, false), ["unhealthy"]);
        assert!(words(&event("health_status: healthy"), 0, false).is_empty());
        assert_eq!(words(&event("health_status: healthy"), 0, true), ["health-recovered"]);
        assert!(words(&event("exec_start: sh"), 0, false).is_empty());
        assert!(words(&event("die"), 0, false).is_empty());
    }
}
