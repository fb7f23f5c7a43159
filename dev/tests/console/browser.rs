//! The console in Chromium: what is asked of it stands in `e2e/console.test.mjs`.

use doorbook_dev::{Cluster, Stand, browser};

use crate::session::{PASSWORD, person, somebody};

/// Where the pictures of the last run lie, below the target folder.
const SHOTS: &str = "console-screenshots";

#[tokio::test]
async fn admins_and_auditors_do_their_work_in_a_browser() {
    let stand = Stand::start(Cluster::shared().await.unwrap()).await.unwrap();
    let (admin, auditor) = (somebody(&stand, "admin").await, somebody(&stand, "auditor").await);
    let (person, leaver) = (person(&stand).await, person(&stand).await);
    let target = std::env::current_exe().unwrap().ancestors().nth(3).unwrap().join(SHOTS);
    let environment = [
        ("BASE", stand.base.as_str()),
        ("ADMIN", &admin),
        ("AUDITOR", &auditor),
        ("PERSON", &person),
        ("LEAVER", &leaver),
        ("PASSWORD", PASSWORD),
        ("SHOTS", target.to_str().unwrap()),
    ];
    let output = browser::run("console.test.mjs", &environment).await.unwrap();
    println!("{output}");
    assert!(output.contains("fail 0"), "{output}");
}
