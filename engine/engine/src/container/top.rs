//! The processes of a container, as the host's `ps` shows them.

use tare_docker_api::container::TopResponse;

use super::state::Status;
use crate::Engine;
use crate::error::{Error, Result};

/// Most bytes of ps output that are looked at.
const OUTPUT_BYTES_MAX: usize = 16 * 1024 * 1024;

impl Engine {
    /// Runs the host's ps with the given arguments (default `-ef`) and keeps the container's processes.
    pub async fn top(&self, name: &str, ps_args: &str) -> Result<TopResponse> {
        let container = self.find(name)?;
        match container.read().state.status {
            Status::Running | Status::Paused => {}
            Status::Restarting => return Err(Error::restarting(&container.id)),
            _ => return Err(Error::not_running(&container.id)),
        }
        let cgroup = self.cgroup(&container);
        let pids =
            crate::blocking(move || cgroup.all_procs().map_err(|error| Error::internal(error.to_string()))).await?;
        let arguments: Vec<_> = if ps_args.is_empty() { vec!["-ef"] } else { ps_args.split_whitespace().collect() };
        check_arguments(&arguments)?;
        let output = tokio::process::Command::new("ps")
            .args(&arguments)
            .stdin(std::process::Stdio::null())
            .output()
            .await
            .map_err(|error| Error::internal(format!("error running ps: {error}")))?;
        if !output.status.success() {
            let text = String::from_utf8_lossy(&output.stderr);
            return Err(Error::internal(format!("ps: {}", first_line(&text))));
        }
        let text = output.stdout.get(..OUTPUT_BYTES_MAX).unwrap_or(&output.stdout);
        let response = parse(&String::from_utf8_lossy(text), &pids)?;
        self.container_event(&container, "top");
        Ok(response)
    }
}

/// ps explains a mistake in its first line; its usage follows.
fn first_line(text: &str) -> &str {
    text.trim().lines().next().unwrap_or_default()
}

/// Arguments that would make ps print something other than processes, or titles of the user's making.
fn check_arguments(arguments: &[&str]) -> Result<()> {
    // `-o pid=PID` could name any column PID.
    for argument in arguments {
        let custom = argument.split_once('=').is_some_and(|(name, title)| {
            let column = name.rsplit([',', 'o', ' ']).next().unwrap_or_default();
            title.eq_ignore_ascii_case("pid") && !column.eq_ignore_ascii_case("pid")
        });
        if custom {
            return Err(Error::invalid(format!("specifying \"{argument}\" is not allowed")));
        }
    }
    Ok(())
}

fn parse(text: &str, pids: &[i32]) -> Result<TopResponse> {
    let mut lines = text.lines();
    let titles: Vec<String> = lines.next().unwrap_or_default().split_whitespace().map(str::to_owned).collect();
    let Some(pid_column) = titles.iter().position(|title| title == "PID") else {
        return Err(Error::internal("Couldn't find PID field in ps output"));
    };
    let mut processes = Vec::new();
    for line in lines {
        let mut fields: Vec<&str> = line.split_whitespace().collect();
        let Some(pid) = fields.get(pid_column) else { continue };
        let Ok(pid) = pid.parse::<i32>() else {
            return Err(Error::internal(format!("Unexpected pid '{pid}': not a number")));
        };
        if !pids.contains(&pid) {
            continue;
        }
        // The last column is the command, which has spaces of its own.
        let rest = fields.split_off(fields.len().min(titles.len().saturating_sub(1)));
        let mut process: Vec<String> = fields.into_iter().map(str::to_owned).collect();
        process.push(rest.join(" "));
        processes.push(process);
    }
    Ok(TopResponse { processes, titles })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistake_is_one_line() {
        assert_eq!(first_line("error: unknown format\n\nUsage:\n ps [options]\n"), "error: unknown format");
        assert_eq!(first_line(""), "");
    }

    #[test]
    fn only_the_containers_processes() {
        let text = "UID          PID    CMD\nroot           1    init\nroot          77    sh -c sleep 1\n";
        let response = parse(text, &[77]).unwrap();
        assert_eq!(response.titles, ["UID", "PID", "CMD"]);
        assert_eq!(response.processes, [["root", "77", "sh -c sleep 1"]]);
        assert!(parse("A B\n", &[]).is_err());
    }
}
