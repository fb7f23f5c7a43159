//! Whose an address was, when an auditor asks for what happened to it.

use doorbook_core::account::Role;

use crate::audit::{filter, keeper, official, settle, walk};
use crate::common::*;

const ANA: &str = "ana@example.com";

/// C069. Breaks when `core/src/store/search.rs`: `order by bool_or(e.type <> 'EmailChangeRequested') desc, min(s.position)` → `order by max(s.position) desc`.
#[tokio::test]
async fn an_account_that_had_an_address_is_found_by_it_however_many_others_have_asked_for_it_since() {
    let house = house().await;
    let (book, keeper) = (house.book().await, keeper(&house).await);
    let admin = official(&book, "chief@example.org", Role::Admin).await;
    register(&book, ANA).await.unwrap();
    let holder_of = async |name: &str| holder(&book, &login(&book, name, PASSWORD).await.unwrap()).await;
    let ana = holder_of(ANA).await;
    let ask = async |caller: doorbook_core::service::access::Caller, to: &str| {
        let context = anywhere().acting(caller.account);
        book.request_email_change(caller, &password(PASSWORD), &email(to), None, &context).await.unwrap();
    };
    ask(ana, "ana@new.example").await;
    let link = house.link(&book, "email_change_confirm").await;
    book.confirm_email_change(&link, None, &anywhere()).await.unwrap();
    settle(&house, &keeper).await;
    for number in 0..21 {
        let name = format!("user{number}@example.com");
        register(&book, &name).await.unwrap();
        ask(holder_of(&name).await, &format!("other{number}@example.com")).await;
    }
    settle(&house, &keeper).await;
    // As if they had all asked for Ana's.
    let asked = "insert into event_search select 8,
            (select term from event_search s join event_seals p using (position) join events e using (event_id)
             where s.field = 8 and e.type = 'Registered' and e.subject_id = '{ana}'), p.position
        from events e join event_seals p using (event_id)
        where e.type = 'EmailChangeRequested' and e.subject_id <> '{ana}'";
    house.alter(asked.replace("{ana}", &ana.account.to_string())).await;

    let found = walk(&book, admin, &filter(|it| it.email = Some(email(ANA))), 50).await;
    assert!(found.iter().any(|entry| entry.account == Some(ana.account.0) && entry.name == "Registered"));
}
