//! A stage at one moment: the image so far and the configuration that the next instruction changes.

use std::sync::Arc;

use tare_dockerfile::{CommandLine, Expander};
use tare_images::ImageContent;
use tare_images::oci::Config;

use crate::arguments::Arguments;

/// The image that is none.
pub(crate) const SCRATCH: &str = "scratch";
/// What runs commands in shell form where nobody says otherwise.
const SHELL: [&str; 2] = ["/bin/sh", "-c"];
/// The search path of images that have none.
const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// See the module.
#[derive(Debug)]
pub(crate) struct State {
    /// `None` only at the beginning of `FROM scratch`.
    pub(crate) image: Option<Arc<ImageContent>>,
    /// The image's ID: that of an index, where the image came as one.
    pub(crate) id: String,
    pub(crate) config: Config,
    pub(crate) arguments: Arguments,
    pub(crate) author: String,
    /// `CMD` was said in this stage.
    pub(crate) has_command: bool,
    /// An instruction was followed anew: later ones are, too.
    pub(crate) cache_missed: bool,
}

impl State {
    /// At the beginning.
    pub(crate) fn new(id: String, image: Option<Arc<ImageContent>>, arguments: Arguments) -> State {
        let mut config = image.as_ref().map(|image| image.config.config.clone()).unwrap_or_default();
        if !config.env.iter().any(|variable| variable.starts_with("PATH=")) {
            config.env.push(PATH.to_owned());
        }
        let (author, has_command, cache_missed) = (String::new(), false, false);
        State { image, id, config, arguments, author, has_command, cache_missed }
    }

    /// What replaces variables here.
    pub(crate) fn expander(&self, escape: char) -> Expander {
        let mut variables = self.arguments.left(&self.config.env);
        variables.extend(self.arguments.visible(&self.config.env));
        Expander::new(escape, &variables)
    }

    pub(crate) fn shell(&self) -> Vec<String> {
        let own = self.config.shell.clone().filter(|shell| !shell.is_empty());
        own.unwrap_or_else(|| SHELL.map(str::to_owned).to_vec())
    }

    /// A command with the shell before it, where it is in shell form.
    pub(crate) fn command(&self, command: &CommandLine) -> Vec<String> {
        if !command.shell || command.words.is_empty() {
            return command.words.clone();
        }
        self.shell().into_iter().chain(command.words.iter().cloned()).collect()
    }

    /// What the history says of an instruction that runs nothing. `WORKDIR`, `COPY` and `ADD` say it in one word.
    pub(crate) fn note(&self, text: &str, one_word: bool) -> Vec<String> {
        let mut words = self.shell();
        if one_word {
            words.push(format!("#(nop) {text}"));
        } else {
            words.extend(["#(nop) ".to_owned(), text.to_owned()]);
        }
        words
    }
}
