//! Commands run in a running container.

use crate::go::List;

go_types! {
    /// Body of `POST /containers/{id}/exec`.
    pub struct ExecConfig {
        user: String ["User"],
        privileged: bool ["Privileged"],
        tty: bool ["Tty"],
        /// Height, width.
        console_size: Option<[u64; 2]> ["ConsoleSize" omitempty],
        attach_stdin: bool ["AttachStdin"],
        attach_stderr: bool ["AttachStderr"],
        attach_stdout: bool ["AttachStdout"],
        detach_keys: String ["DetachKeys"],
        env: List<String> ["Env"],
        working_dir: String ["WorkingDir"],
        cmd: Option<Vec<String>> ["Cmd"],
    }

    /// Answer that carries only an identifier (exec create, commit).
    pub struct IdResponse {
        id: String ["Id"],
    }

    /// Body of `POST /exec/{id}/start`.
    pub struct ExecStart {
        detach: bool ["Detach"],
        tty: bool ["Tty"],
        /// Height, width.
        console_size: Option<[u64; 2]> ["ConsoleSize" omitempty],
    }

    /// Answer of `GET /exec/{id}/json`.
    pub struct ExecInspect {
        id: String ["ID"],
        running: bool ["Running"],
        /// `None` while running or not yet started.
        exit_code: Option<i64> ["ExitCode"],
        process_config: ExecProcessConfig ["ProcessConfig"],
        open_stdin: bool ["OpenStdin"],
        open_stderr: bool ["OpenStderr"],
        open_stdout: bool ["OpenStdout"],
        can_remove: bool ["CanRemove"],
        container_id: String ["ContainerID"],
        /// The key sequence, base64; Go writes an empty sequence as `""`.
        detach_keys: Option<String> ["DetachKeys"],
        pid: i64 ["Pid"],
    }

    /// What an exec runs.
    pub struct ExecProcessConfig {
        tty: bool ["tty"],
        entrypoint: String ["entrypoint"],
        arguments: List<String> ["arguments"],
        privileged: Option<bool> ["privileged" omitempty],
        user: String ["user" omitempty],
    }
}
