//! What was built on a connection. A client takes the result of one build into another (a target of bake's as the context of
//! the next) as a definition that it passes on unread: here, one that names the result.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};

use bollard_buildkit_proto::pb;
use prost::Message as _;
use sha2::{Digest as _, Sha256};
use tare_build::Kept;
use tonic::Status;

use crate::front::unsupported;

/// Results that a connection keeps; of more, the oldest go.
const RESULTS_MAX: usize = 1024;
/// What identifiers of results begin with.
const SCHEME: &str = "tare-result://";

/// Images by the names of a build's inputs.
pub(crate) type Inputs = HashMap<String, String>;

/// The results of one connection, by reference.
#[derive(Debug, Default)]
pub(crate) struct Results(Mutex<VecDeque<(String, Kept)>>);

impl Results {
    /// Keeps a result; gives what stands for it.
    pub(crate) fn keep(&self, reference: &str, result: Kept) -> pb::Definition {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() == RESULTS_MAX {
            all.pop_front();
        }
        all.push_back((reference.to_owned(), result));
        definition(reference)
    }

    /// The images that the inputs of a build are.
    pub(crate) fn inputs(&self, definitions: &HashMap<String, pb::Definition>) -> Result<Inputs, Status> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let one = |(name, definition): (&String, &pb::Definition)| {
            let Some(wanted) = reference(definition) else {
                return unsupported(&format!("the input {name:?} of a build"));
            };
            let found = all.iter().find(|(reference, _)| *reference == wanted);
            let (_, result) = found.ok_or_else(|| Status::not_found(format!("no result for the input {name:?}")))?;
            Ok((name.clone(), result.id().to_owned()))
        };
        definitions.iter().map(one).collect()
    }
}

/// One operation, and the end that clients look for.
fn definition(reference: &str) -> pb::Definition {
    let source = pb::SourceOp { identifier: format!("{SCHEME}{reference}"), ..pb::SourceOp::default() };
    let op = pb::Op { op: Some(pb::op::Op::Source(source)), ..pb::Op::default() }.encode_to_vec();
    let digest = digest(&op);
    let end = pb::Op { inputs: vec![pb::Input { digest: digest.clone(), index: 0 }], ..pb::Op::default() };
    // Clients take an operation without metadata for a broken one.
    let metadata = BTreeMap::from([(digest, pb::OpMetadata::default())]);
    pb::Definition { def: vec![op, end.encode_to_vec()], metadata, source: None }
}

/// The result that a definition names, if it is one of ours.
fn reference(definition: &pb::Definition) -> Option<String> {
    let end = pb::Op::decode(definition.def.last()?.as_slice()).ok()?;
    let wanted = &end.inputs.first()?.digest;
    let op = definition.def.iter().find(|op| digest(op) == *wanted)?;
    match pb::Op::decode(op.as_slice()).ok()?.op? {
        pb::op::Op::Source(source) => source.identifier.strip_prefix(SCHEME).map(str::to_owned),
        _ => None,
    }
}

fn digest(bytes: &[u8]) -> String {
    let hex: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn definitions_name_results() {
        let own = definition("abc");
        assert_eq!(reference(&own).as_deref(), Some("abc"));
        assert!(own.metadata.contains_key(&digest(own.def.first().unwrap())));
        // Clients write the end anew.
        let mut again = own.clone();
        again.def.insert(0, pb::Op::default().encode_to_vec());
        assert_eq!(reference(&again).as_deref(), Some("abc"));
        for broken in
            [vec![], vec![vec![0xff]], vec![own.def.first().unwrap().clone()], vec![own.def.last().unwrap().clone()]]
        {
            assert_eq!(reference(&pb::Definition { def: broken, ..pb::Definition::default() }), None);
        }
    }

    #[test]
    fn only_own_results_are_inputs() {
        let results = Results::default();
        let asked = |definition| results.inputs(&HashMap::from([("0-base".to_owned(), definition)]));
        let unknown = asked(definition("gone")).unwrap_err();
        assert_eq!(unknown.message(), "no result for the input \"0-base\"");
        let image = pb::SourceOp { identifier: "docker-image://x".to_owned(), ..pb::SourceOp::default() };
        let op = pb::Op { op: Some(pb::op::Op::Source(image)), ..pb::Op::default() }.encode_to_vec();
        let end = pb::Op { inputs: vec![pb::Input { digest: digest(&op), index: 0 }], ..pb::Op::default() };
        let foreign = pb::Definition { def: vec![op, end.encode_to_vec()], ..pb::Definition::default() };
        let refused = asked(foreign).unwrap_err();
        assert_eq!(refused.message(), "the input \"0-base\" of a build is not supported by this engine");
    }
}
