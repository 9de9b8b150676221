//! Stages and their steps.

use std::path::PathBuf;
use std::sync::Arc;

use tare_distribution::{BuildHold, Commit};
use tare_docker_api::auth::AuthConfig;
use tare_docker_api::stream::JsonMessage;
use tare_dockerfile::{Dockerfile, Expander, Instruction, Kind, Pair, Stage, parse_trigger};
use tare_engine::{Engine, Error, Result};
use tare_images::oci::Platform;
use tare_images::{Image, ImageContent};
use tare_reference::{Digest, Reference};
use tokio::sync::mpsc;

use crate::Source;
use crate::arguments::{Arguments, for_platform};
use crate::cache::Cache;
use crate::caller::credentials;
use crate::checks;
use crate::context::{Context, receive};
use crate::named::{AllHere, Named};
use crate::needed::{self, Files};
use crate::options::Checked;
use crate::output::{Failure, Output};
use crate::result::Built;
use crate::stage::{SCRATCH, State};
use crate::steps::Steps;

/// The registry's name in clients' credentials.
const HUB: &str = "https://index.docker.io/v1/";

/// A stage that is done.
#[derive(Debug)]
struct Done {
    name: String,
    /// Empty where nothing was made.
    id: String,
    arguments: Arguments,
}

/// A build in progress.
pub(crate) struct Builder {
    pub(crate) engine: Arc<Engine>,
    pub(crate) options: Checked,
    pub(crate) context: Context,
    pub(crate) output: Output,
    pub(crate) escape: char,
    pub(crate) cache: Cache,
    pub(crate) hold: BuildHold,
    pub(crate) here: AllHere,
    done: Vec<Done>,
}

/// Builds; gives the image.
pub(crate) async fn build(
    engine: Arc<Engine>,
    options: Checked,
    source: Source,
    output: Output,
) -> Result<Built, Failure> {
    let follows_steps = matches!(output, Output::Events { .. });
    let mut context = receive(&engine, source, &options.given, &output).await?;
    let file = std::mem::replace(&mut context.dockerfile, Dockerfile::empty());
    if follows_steps {
        checks::warn(&context, &file, &options.given, &output).await?;
    }
    let hold = engine.distribution().hold_steps();
    let escape = file.escape;
    let cache = Cache::of(&engine, &options);
    let mut builder =
        Builder { engine, options, context, output, escape, cache, hold, here: AllHere::new(), done: Vec::new() };
    let stages = builder.stages(&file)?;
    // The classic builder follows everything before the target.
    let is_named = |name: &str| builder.named(name).is_some();
    let needed = if follows_steps { needed::stages(&stages, &is_named) } else { vec![true; stages.len()] };
    builder.context.fetch(needed::files(&stages, &needed, &str::is_empty), &builder.output).await?;
    builder.fetch_named(&stages, &needed).await?;
    builder.import_caches().await;
    let id = builder.all(&file, stages, &needed).await?;
    Ok(Built::new(builder, id))
}

impl Builder {
    /// The stages up to the wanted one, with the caller's labels.
    fn stages(&self, file: &Dockerfile) -> Result<Vec<Stage>> {
        let mut stages = needed::up_to(file, &self.options.given.target)?;
        if let Some(last) = stages.last_mut() {
            for (key, value) in &self.options.given.labels {
                let pair = Pair { key: key.clone(), value: value.clone() };
                let source = format!("LABEL {pair}");
                last.instructions.push(Instruction { line: 0, source, kind: Kind::Labelled(pair) });
            }
        }
        Ok(stages)
    }

    async fn all(&mut self, file: &Dockerfile, stages: Vec<Stage>, needed: &[bool]) -> Result<String, Failure> {
        for warning in &file.warnings {
            self.output.say(format!("\u{1b}[91m[WARNING]: {warning}\n\u{1b}[0m")).await;
        }
        if !file.warnings.is_empty() {
            let text = "[WARNING]: Empty continuation lines will become errors in a future release.";
            self.output.say(format!("\u{1b}[91m{text}\n\u{1b}[0m")).await;
        }
        let given = self.options.given.arguments.clone();
        let mut arguments = Arguments::new(given, for_platform(self.options.platform.as_ref()));
        let own = stages.iter().map(|stage| 1 + stage.instructions.len()).sum::<usize>();
        let total = own + file.arguments.len();
        let mut number = 0;
        for argument in &file.arguments {
            number += 1;
            self.output.say(format!("Step {number}/{total} : {}\n", argument.source)).await;
            let expander = Expander::new(self.escape, &arguments.globals());
            let Kind::Arg(declared) = &argument.kind else { continue };
            for (name, default) in declared {
                let default = default.as_ref().map(|text| expander.word(text)).transpose().map_err(Error::invalid)?;
                arguments.declare_global(&expander.word(name).map_err(Error::invalid)?, default);
            }
        }
        let mut last = String::new();
        let names = Steps::names(&stages);
        for ((stage, shown), needed) in stages.into_iter().zip(names).zip(needed) {
            let taken = |done: &Done| !stage.name.is_empty() && done.name == stage.name;
            if self.done.iter().any(taken) {
                return Err(Error::internal(format!("{} stage name already used", stage.name)).into());
            }
            if !needed {
                // Keeps its number.
                self.done.push(Done { name: stage.name, id: String::new(), arguments: Arguments::default() });
                continue;
            }
            number += 1;
            self.output.say(format!("Step {number}/{total} : {}\n", stage.source)).await;
            let mut steps = Steps::of(&stage, shown);
            let begun = self.begin(&stage, &arguments, &mut steps).await;
            self.output.end(&begun).await;
            let mut state = begun?;
            state.cache_missed |= self.options.given.no_cache_stages.contains(&stage.name);
            self.arrow(&state).await;
            for instruction in &stage.instructions {
                number += 1;
                self.output.say(format!("Step {number}/{total} : {}\n", instruction.source)).await;
                self.instruction(&mut state, instruction, &mut steps).await?;
                self.arrow(&state).await;
            }
            if !state.id.is_empty() {
                let aux = serde_json::json!({ "ID": state.id });
                self.output.message(JsonMessage { aux: Some(aux), ..JsonMessage::default() }).await;
            }
            arguments.merge(&state.arguments);
            last.clone_from(&state.id);
            self.done.push(Done { name: stage.name, id: state.id, arguments: state.arguments });
        }
        let unused = arguments.unused();
        if !unused.is_empty() {
            let text = format!("[Warning] One or more build-args [{}] were not consumed\n", unused.join(" "));
            self.output.say(text).await;
        }
        if last.is_empty() {
            return Err(Error::internal("No image was generated. Is your Dockerfile empty?").into());
        }
        Ok(last)
    }

    /// Follows an instruction, as a step of its own if it is one.
    async fn instruction(
        &mut self,
        state: &mut State,
        instruction: &Instruction,
        steps: &mut Steps,
    ) -> Result<(), Failure> {
        if let Some(name) = steps.instruction(instruction) {
            self.output.begin(name).await;
        }
        let followed = self.follow(state, &instruction.kind).await;
        self.output.end(&followed).await;
        followed
    }

    async fn arrow(&self, state: &State) {
        self.output.say(format!(" ---> {}\n", short(&state.id))).await;
    }

    /// `FROM`
    async fn begin(&mut self, stage: &Stage, arguments: &Arguments, steps: &mut Steps) -> Result<State, Failure> {
        let expander = Expander::new(self.escape, &arguments.globals());
        let platform = match stage.platform.as_str() {
            "" => self.options.platform.clone(),
            text => {
                let text = expander.word(text).map_err(|why| {
                    Error::internal(format!("failed to process arguments for platform {text}: {why}"))
                })?;
                let parsed = Platform::parse(&text);
                Some(parsed.map_err(|why| Error::invalid(format!("failed to parse platform {text}: {why}")))?)
            }
        };
        let name = expander.word(&stage.base).map_err(Error::internal)?;
        if name.is_empty() {
            return Err(Error::internal(format!("base name ({}) should not be blank", stage.base)).into());
        }
        let mut own = arguments.for_stage();
        if self.named_directory(&name).is_some() {
            let mut state = State::new(String::new(), None, own);
            self.begin_with(&mut state, &name).await?;
            return Ok(state);
        }
        let before = match self.named(&name) {
            Some(_) => None,
            None => self.done.iter().find(|done| done.name == name.to_lowercase() && !done.name.is_empty()),
        };
        // To BuildKit, a stage goes on with the arguments of the one that it is made from.
        if let Some(done) = before.filter(|_| self.context.caller().is_some()) {
            own = arguments.for_stage_after(&done.arguments);
        }
        let arguments = own;
        let before = before.map(|done| done.id.clone());
        if self.named_image(&name) == SCRATCH {
            return Ok(State::new(String::new(), None, arguments));
        }
        let image = match before {
            Some(id) if id.is_empty() => return Ok(State::new(String::new(), None, arguments)),
            Some(id) => self.local(&id, None)?,
            None => {
                let step = match self.named(&name) {
                    Some(Named::Result(_)) => steps.result(&name),
                    _ => steps.base(self.named_image(&name)),
                };
                self.output.begin(step).await;
                self.image_of(&name, platform.as_ref()).await?
            }
        };
        self.hold.hold(&image.id);
        let mut state = State::new(image.id.to_string(), Some(Arc::clone(image.content())), arguments);
        let triggers = state.config.on_build.take().unwrap_or_default();
        if !triggers.is_empty() {
            let plural = if triggers.len() > 1 { "s" } else { "" };
            self.output.say(format!("# Executing {} build trigger{plural}\n", triggers.len())).await;
        }
        if !triggers.is_empty() {
            self.output.end(&Ok::<_, Failure>(())).await;
        }
        for trigger in triggers {
            let instruction = parse_trigger(&trigger).map_err(|error| Error::internal(error.to_string()))?;
            if matches!(instruction.kind, Kind::Copy(_) | Kind::Add(_) | Kind::Run(_)) {
                // Nobody knew of it when the files were fetched.
                self.context.fetch(Files::All, &self.output).await?;
            }
            self.instruction(&mut state, &instruction, steps).await?;
        }
        Ok(state)
    }

    async fn follow(&mut self, state: &mut State, kind: &Kind) -> Result<(), Failure> {
        match kind {
            Kind::Run(run) => self.run(state, run).await,
            Kind::Copy(copy) => self.copy(state, "COPY", copy).await.map_err(Failure::from),
            Kind::Add(copy) => self.copy(state, "ADD", copy).await.map_err(Failure::from),
            Kind::Workdir(path) => self.workdir(state, path).await.map_err(Failure::from),
            other => self.metadata(state, other).await.map_err(Failure::from),
        }
    }

    /// An image that is here.
    pub(crate) fn local(&self, name: &str, platform: Option<&Platform>) -> Result<Image> {
        let found = self.engine.image_store().resolve_platform(name, platform);
        found.map_err(|error| Error::not_found(error.to_string()))
    }

    /// The image that a name stands for.
    pub(crate) async fn image_of(&self, name: &str, platform: Option<&Platform>) -> Result<Image> {
        match self.named(name) {
            // No registry has it, and it is for the platform that its build was for.
            Some(Named::Result(id)) => self.local(id, None),
            _ => self.image(self.named_image(name), platform).await,
        }
    }

    /// An image from here, or from its registry if it is not here or the caller wants the newest.
    pub(crate) async fn image(&self, name: &str, platform: Option<&Platform>) -> Result<Image> {
        if !self.options.given.pull
            && let Ok(image) = self.local(name, platform)
        {
            return Ok(image);
        }
        self.pulled(name, platform).await
    }

    /// An image as its registry has it now.
    pub(crate) async fn pulled(&self, name: &str, platform: Option<&Platform>) -> Result<Image> {
        let reference = Reference::parse_normalized(name)
            .map_err(|error| Error::invalid(format!("failed to parse reference {name:?}: {error}")))?
            .with_default_tag();
        let (sender, mut messages) = mpsc::unbounded_channel();
        let progress = move |message: JsonMessage| {
            // Whoever listens is below.
            let _ = sender.send(message);
        };
        let (engine, credentials) = (Arc::clone(&self.engine), self.credentials(&reference).await?);
        let (wanted, asked) = (platform.cloned(), reference.clone());
        let pull = async move {
            let pulled = engine.distribution().pull(&asked, wanted.as_ref(), credentials, &progress).await;
            drop(progress);
            pulled
        };
        let show = async {
            while let Some(message) = messages.recv().await {
                self.output.message(message).await;
            }
        };
        let (pulled, ()) = tokio::join!(pull, show);
        pulled.map_err(|error| Error::not_found(error.to_string()))?;
        self.local(&reference.to_string(), platform)
    }

    async fn credentials(&self, reference: &Reference) -> Result<Option<tare_registry::Credentials>> {
        let domain = reference.domain();
        if self.context.caller().is_some() {
            return credentials(self.context.caller(), domain).await;
        }
        let all = &self.options.given.credentials;
        let keys = if domain == "docker.io" { [HUB, domain] } else { [domain, domain] };
        let Some(found): Option<&AuthConfig> = keys.iter().find_map(|key| all.get(*key)) else { return Ok(None) };
        Ok(Some(tare_registry::Credentials {
            username: found.username.clone(),
            password: found.password.clone(),
            identity_token: found.identity_token.clone(),
            registry_token: found.registry_token.clone(),
        }))
    }

    /// A stage before this one, by name or number, as its image's ID.
    pub(crate) fn stage(&self, name: &str) -> Result<Option<&str>> {
        if self.named(name).is_some() {
            return Ok(None);
        }
        if let Some(done) = self.done.iter().find(|done| !done.name.is_empty() && done.name == name.to_lowercase()) {
            return Ok(Some(&done.id));
        }
        let Ok(number) = name.parse::<i64>() else { return Ok(None) };
        match usize::try_from(number).ok().and_then(|number| self.done.get(number)) {
            Some(done) => Ok(Some(&done.id)),
            None if usize::try_from(number) == Ok(self.done.len()) => {
                Err(Error::internal("refers to current build stage"))
            }
            None => Err(Error::internal("index out of bounds")),
        }
    }

    /// Keeps an image from being removed while this build needs it.
    pub(crate) fn hold(&self, image: &Digest) {
        self.hold.hold(image);
    }

    /// Makes the step's image; `upper` has what changed in the file system.
    pub(crate) async fn commit(
        &self,
        state: &mut State,
        words: &[String],
        key: String,
        upper: Option<PathBuf>,
    ) -> Result<()> {
        let commit = Commit {
            upper,
            parent: state.image.clone().map(|image| with_id(&image, &state.id)),
            config: state.config.clone(),
            created_by: words.join(" "),
            author: state.author.clone(),
            created: self.options.created.clone(),
            ..Commit::default()
        };
        let made = self.engine.distribution().commit_step(commit, key, &self.hold).await;
        let id = made.map_err(|error| Error::internal(error.to_string()))?;
        self.engine.made_by_build(&id.to_string());
        self.advance(state, &id)
    }

    /// Goes on from a step's image.
    pub(crate) fn advance(&self, state: &mut State, id: &Digest) -> Result<()> {
        let image = self.local(id.as_str(), None)?;
        state.image = Some(Arc::clone(image.content()));
        state.id = id.to_string();
        Ok(())
    }
}

/// The content of an image under the ID that it is known by, which is that of its index where it has one.
fn with_id(image: &Arc<ImageContent>, id: &str) -> Arc<ImageContent> {
    match Digest::parse(id) {
        Ok(digest) if digest != image.descriptor.digest => {
            let mut content = ImageContent::clone(image);
            content.descriptor.digest = digest;
            Arc::new(content)
        }
        _ => Arc::clone(image),
    }
}

/// Twelve digits of an ID.
pub(crate) fn short(id: &str) -> &str {
    let hex = id.strip_prefix("sha256:").unwrap_or(id);
    hex.get(..12).unwrap_or(hex)
}
