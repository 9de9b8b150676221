//! Progress of pulls, pushes, loads and builds: a stream of messages, shown as Docker's client shows them. On a terminal one
//! line per layer, rewritten in place; elsewhere a line per change of state and no bars.

mod render;

use std::time::SystemTime;

use serde_json::Value;
use tare_docker_api::stream::JsonMessage;
use tare_docker_client::Response;

use crate::cli::Output;
use crate::error::CliError;
pub use render::Renderer;

/// Columns assumed where the terminal does not say.
const WIDE: usize = 200;

/// Shows an answer's messages on `out` until its end; `None` reads them in silence. `aux` gets what messages carry besides
/// text. A message about an error is the error.
pub async fn show(response: Response, out: Option<&Output>, mut aux: impl FnMut(Value)) -> Result<(), CliError> {
    let terminal = out.is_some_and(Output::is_terminal);
    let mut renderer = Renderer::new(terminal, WIDE);
    let mut messages = response.json_stream::<JsonMessage>();
    while let Some(message) = messages.next().await? {
        if let Some(value) = message.aux {
            aux(value);
            continue;
        }
        if terminal && let Some((_, columns)) = out.and_then(Output::size) {
            renderer.width = usize::from(columns);
        }
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        // The code of a build's command becomes the client's.
        let code = message.error_detail.as_ref().and_then(|detail| i32::try_from(detail.code).ok());
        let code = code.filter(|code| *code != 0).unwrap_or(1);
        let text = renderer.render(&message, now).map_err(|text| CliError::with_code(text, code))?;
        if let Some(out) = out
            && !text.is_empty()
        {
            out.print(text)?;
        }
    }
    Ok(())
}
