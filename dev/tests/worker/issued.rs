//! Tokens that have been issued are in nobody's hands but their owner's: not in Redis, not in a log of any level.

use std::path::{Path, PathBuf};

use doorbook_dev::search::{Search, forms};
use serde_json::json;

use crate::common::*;

/// Every file below a folder but Postgres's own, which are searched by a test of the book.
fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.ends_with("postgres") {
            files(&path, found);
        } else if path.is_file() {
            found.push(path);
        }
    }
}

/// C033. Breaks when `worker/src/jobs/mail.rs`: `let (_, token) = mail.token.as_ref().ok_or_else(|| ComposeError::Token(mail.template.clone()))?;` → `let (_, token) = mail.token.as_ref().ok_or_else(|| ComposeError::Token(mail.template.clone()))?; tracing::trace!("{}", token.expose());`.
#[tokio::test]
async fn no_issued_token_stands_in_redis_or_in_any_log_though_everything_is_logged() {
    let cluster = own_cluster().await;
    let house = house_with(&cluster, &[("LOG_LEVEL", "trace")]).await;
    let mut worker = house.launch_worker(&[("LOG_LEVEL", "trace")]).await;
    worker.ready().await;
    let mut issued = Vec::new();
    // Six tokens each: five hundred in the whole dose.
    let people = dose(10, 84);
    for number in 0..people {
        let address = house.register(number).await.address;
        let tokens = house.log_in(number).await;
        let refresh = json!({ "refresh": tokens.text("refresh") });
        let next = house.post(number, "/api/auth/token/refresh/", refresh, 200).await;
        house.post(number, "/api/auth/password/reset/", json!({ "email": address }), 202).await;
        issued.extend(
            [&tokens, &next].iter().flat_map(|tokens| ["access", "refresh"].map(|name| tokens.text(name).to_owned())),
        );
    }
    house.until_settled(SOON).await;
    issued.extend(house.stand.sink.mails().iter().map(|mail| mail.token().unwrap()));
    assert_eq!(issued.len(), 6 * people);
    worker.program.terminate().unwrap();
    worker.program.ended(SOON).await.unwrap();

    let forms: Vec<_> = issued.iter().map(|token| forms(token)).collect();
    assert!(forms.iter().all(|forms| forms.len() == 3));
    let tokens = Search::new(forms.into_iter().flatten());
    // What must be found, or the search finds nothing: the ids of jobs went through Redis and through the logs.
    let entries = house.entries().await;
    let controls = Search::new(entries.values().map(|entry| entry.job.to_string().into_bytes()));
    let mut paths = Vec::new();
    files(cluster.run().folder(), &mut paths);
    let (mut in_redis, mut in_logs) = (0, 0);
    for path in paths {
        let bytes = std::fs::read(&path).unwrap();
        assert_eq!(tokens.hits(&bytes), 0, "{}", path.display());
        let found = controls.hits(&bytes);
        if path.to_string_lossy().contains("appendonly") {
            in_redis += found;
        } else if path.extension().is_some_and(|extension| extension == "log") {
            in_logs += found;
        }
    }
    assert!(in_redis >= entries.len(), "{in_redis} ids of {} in what Redis wrote", entries.len());
    assert!(in_logs >= entries.len(), "{in_logs} ids of {} in the logs", entries.len());
}
