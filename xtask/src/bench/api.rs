//! Requests: how long the engine takes for them, one by one and with many clients.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use serde_json::{Value, json};

use super::engine::{Target, create, remove, start};
use super::sample::{Contender, Sample, seconds, turns};
use super::table::{Budget, Row};
use super::{Bench, IMAGE};

/// Containers that count, of each kind.
const ROUNDS: usize = 30;
/// Containers started at once.
const MANY: usize = 50;
/// Clients that start them.
const CLIENTS: usize = 8;
/// How often.
const MANY_ROUNDS: usize = 5;
/// Runs until it is killed.
const SLEEP: &[&str] = &["sleep", "54321"];

/// What is asked for, one after the other.
const STEPS: [&str; 4] = ["create", "start", "stop, without patience", "remove"];

/// `cargo xtask bench api`.
pub fn api(bench: &Bench) -> Result<Vec<Row>, String> {
    let targets = bench.targets();
    let mut samples = vec![[const { Vec::new() }; STEPS.len()]; targets.len()];
    let mut clients = targets.iter().map(Target::client).collect::<Result<Vec<_>, _>>()?;
    for round in 0..=bench.options.rounds(ROUNDS) {
        for (client, samples) in clients.iter_mut().zip(&mut samples) {
            let mut id = String::new();
            let steps = [
                seconds(|| create(client, IMAGE, SLEEP, &Value::Null).map(|new| id = new))?,
                seconds(|| start(client, &id))?,
                seconds(|| client.call("POST", &format!("/containers/{id}/stop?t=0"), &Value::Null))?,
                seconds(|| client.call("DELETE", &format!("/containers/{id}"), &Value::Null))?,
            ];
            for (step, sample) in steps.into_iter().zip(samples).filter(|_| round > 0) {
                sample.push(step);
            }
        }
    }
    let of = |target: usize, step: usize| -> Option<Sample> {
        samples.get(target)?.get(step).map(|values: &Vec<f64>| values.iter().copied().collect())
    };
    let budgets = [Some(0.003), Some(0.008), None, None];
    let rows = STEPS.into_iter().zip(budgets).enumerate().map(|(step, (name, budget))| {
        let row = Row::time(name, of(0, step).unwrap_or_default()).beside("docker", of(1, step));
        match budget {
            Some(budget) => row.promised(Budget::AtMost(budget)),
            None => row,
        }
    });
    Ok(rows.collect())
}

/// `cargo xtask bench remove`.
pub fn forced_removal(bench: &Bench) -> Result<Vec<Row>, String> {
    let contender = |target: Target| -> Contender<'_> {
        Box::new(move || {
            let mut client = target.client()?;
            let id = create(&mut client, IMAGE, SLEEP, &Value::Null)?;
            start(&mut client, &id)?;
            seconds(|| remove(&mut client, &id))
        })
    };
    let samples =
        turns(bench.options.rounds(ROUNDS), &mut bench.targets().into_iter().map(contender).collect::<Vec<_>>())?;
    let ours = samples.first().cloned().unwrap_or_default();
    let row = Row::time("`rm -f` of a running container", ours).beside("docker", samples.get(1).cloned());
    Ok(vec![row.promised(Budget::Faster(10.0))])
}

/// `cargo xtask bench fifty`.
pub fn fifty(bench: &Bench) -> Result<Vec<Row>, String> {
    let contender = |target: Target| -> Contender<'_> {
        Box::new(move || {
            let mut ids = Vec::new();
            let seconds = seconds(|| start_many(&target).map(|new| ids = new))?;
            remove_many(&target, &ids)?;
            Ok(seconds)
        })
    };
    let rounds = bench.options.rounds(MANY_ROUNDS);
    let samples = turns(rounds, &mut bench.targets().into_iter().map(contender).collect::<Vec<_>>())?;
    let ours = samples.first().cloned().unwrap_or_default();
    let row = Row::time(format!("{MANY} containers started by {CLIENTS} clients"), ours);
    Ok(vec![row.beside("docker", samples.get(1).cloned()).promised(Budget::Faster(10.0))])
}

/// Starts many containers on the bridge.
fn start_many(target: &Target) -> Result<Vec<String>, String> {
    let next = AtomicUsize::new(0);
    let one_client = || {
        let mut client = target.client()?;
        let mut ids = Vec::new();
        while next.fetch_add(1, Ordering::Relaxed) < MANY {
            let id = create(&mut client, IMAGE, SLEEP, &json!({}))?;
            start(&mut client, &id)?;
            ids.push(id);
        }
        Ok(ids)
    };
    let lists: Vec<Result<Vec<String>, String>> = thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(one_client)).collect();
        let join =
            |client: thread::ScopedJoinHandle<'_, _>| client.join().unwrap_or_else(|_| Err("panicked".to_owned()));
        clients.into_iter().map(join).collect()
    });
    lists.into_iter().try_fold(Vec::new(), |all, list| Ok([all, list?].concat()))
}

/// Removes them, as quickly as the engine can.
pub fn remove_many(target: &Target, ids: &[String]) -> Result<(), String> {
    let some = |ids: &[String]| {
        let mut client = target.client()?;
        ids.iter().try_for_each(|id| remove(&mut client, id))
    };
    thread::scope(|scope| {
        let clients: Vec<_> =
            ids.chunks(ids.len().div_ceil(CLIENTS).max(1)).map(|ids| scope.spawn(move || some(ids))).collect();
        clients.into_iter().try_for_each(|client| client.join().unwrap_or_else(|_| Err("panicked".to_owned())))
    })
}
