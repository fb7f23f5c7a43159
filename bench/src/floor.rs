//! The floors: bare programs that do only what a route cannot do without. `doorbook-bench floor` serves three of them: a constant
//! page; a token check, one read by primary key and the answer; a token check, one update by primary key and two new tokens.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context, Result};
use jsonwebtoken::{DecodingKey, EncodingKey, Header, Validation, decode, encode};
use poem::listener::TcpListener;
use poem::web::{Data, Json};
use poem::{EndpointExt, IntoResponse, Request, Response, Route, Server, get, handler, post};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sqlx::{Connection as _, PgConnection, PgPool};
use tokio::sync::{Mutex, MutexGuard};
use uuid::Uuid;

/// Connections to Postgres: what Doorbook's api opens at most by itself.
const CONNECTIONS: usize = 16;

/// Of the tokens, which nobody needs to keep secret.
const KEY: &[u8] = b"a floor has no secrets, but a key of the usual length.";

/// When its tokens end, in seconds since 1970: in 2100.
const FAR: u64 = 4_102_444_800;

#[derive(Serialize, Deserialize)]
struct Claims {
    sub: Uuid,
    sid: Uuid,
    exp: u64,
}

struct Floor {
    /// No pool: sqlx's asks each connection that it is given back whether it is well, which is another round trip.
    connections: Vec<Mutex<PgConnection>>,
    turn: AtomicUsize,
    encoding: EncodingKey,
    decoding: DecodingKey,
    validation: Validation,
}

impl Floor {
    async fn db(&self) -> MutexGuard<'_, PgConnection> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        self.connections[turn % self.connections.len()].lock().await
    }

    fn token(&self, account: Uuid, session: Uuid) -> Option<String> {
        encode(&Header::default(), &Claims { sub: account, sid: session, exp: FAR }, &self.encoding).ok()
    }

    fn claims(&self, request: &Request) -> Option<Claims> {
        let token = request.header("authorization")?.strip_prefix("Bearer ")?;
        Some(decode::<Claims>(token, &self.decoding, &self.validation).ok()?.claims)
    }
}

/// Accounts and sessions as small as they can be, none of them unlogged: what is written is durable.
const TABLES: &str = "
    create table if not exists accounts (account_id uuid primary key, email text not null unique, first_name text not null,
        last_name text not null, status text not null, created_at timestamptz not null);
    create table if not exists sessions (session_id uuid primary key, account_id uuid not null, generation bigint not null,
        rotated_at timestamptz not null);";

/// Makes the tables, and so many accounts like those of the load.
pub async fn prepare(url: &str, accounts: u32) -> Result<()> {
    let db = PgPool::connect(url).await.context("cannot connect to the floor's database")?;
    sqlx::raw_sql(TABLES).execute(&db).await.context("cannot make the floor's tables")?;
    sqlx::query(
        "insert into accounts select gen_random_uuid(), 'user' || n || '@example.com', 'Ana', 'Lima', 'active', now()
         from generate_series(1, $1) n",
    )
    .bind(i64::from(accounts))
    .execute(&db)
    .await?;
    sqlx::query("insert into sessions select gen_random_uuid(), account_id, 1, now() from accounts")
        .execute(&db)
        .await?;
    sqlx::raw_sql("create index sessions_account on sessions (account_id)").execute(&db).await?;
    sqlx::raw_sql("vacuum analyze").execute(&db).await?;
    Ok(())
}

/// Serves until it is killed.
pub async fn serve(bind: &str, url: &str) -> Result<()> {
    let mut connections = Vec::with_capacity(CONNECTIONS);
    for _ in 0..CONNECTIONS {
        connections.push(Mutex::new(PgConnection::connect(url).await?));
    }
    let floor = Arc::new(Floor {
        connections,
        turn: AtomicUsize::new(0),
        encoding: EncodingKey::from_secret(KEY),
        decoding: DecodingKey::from_secret(KEY),
        validation: Validation::default(),
    });
    let app = Route::new()
        .at("/health/ready", get(constant))
        .at("/login", post(login))
        .at("/profile", get(profile))
        .at("/refresh", post(refresh))
        .data(floor);
    Server::new(TcpListener::bind(bind.to_owned())).run(app).await.context("the floor cannot serve")
}

#[handler]
fn constant() -> Response {
    Response::builder().content_type("application/json").header("cache-control", "no-store").body(r#"{"status":"ok"}"#)
}

/// Without a password: it is how the load gets tokens, and is not measured.
#[handler]
async fn login(Data(floor): Data<&Arc<Floor>>, body: Json<Value>) -> Response {
    let found: Result<(Uuid, Uuid, i64), _> = sqlx::query_as(
        "select account_id, session_id, generation from accounts join sessions using (account_id) where email = $1",
    )
    .bind(body.0["email"].as_str())
    .fetch_one(&mut *floor.db().await)
    .await;
    match found {
        Ok((account, session, generation)) => tokens(floor, account, session, generation),
        Err(_) => refused(),
    }
}

#[handler]
async fn profile(Data(floor): Data<&Arc<Floor>>, request: &Request) -> Response {
    let Some(claims) = floor.claims(request) else { return refused() };
    let found: Result<(Uuid, String, String, String, String), _> =
        sqlx::query_as("select account_id, email, first_name, last_name, status from accounts where account_id = $1")
            .bind(claims.sub)
            .fetch_one(&mut *floor.db().await)
            .await;
    match found {
        Ok((id, email, first_name, last_name, status)) => Json(json!({
            "id": id, "email": email, "first_name": first_name, "last_name": last_name, "status": status,
        }))
        .into_response(),
        Err(_) => refused(),
    }
}

/// The token is the session's id and generation: who has the right generation gets the next.
#[handler]
async fn refresh(Data(floor): Data<&Arc<Floor>>, body: Json<Value>) -> Response {
    let token = body.0["refresh"].as_str().and_then(|token| token.split_once('.'));
    let parsed = token.and_then(|(id, generation)| Some((id.parse::<Uuid>().ok()?, generation.parse::<i64>().ok()?)));
    let Some((session, generation)) = parsed else { return refused() };
    let moved: Result<Option<(Uuid, i64)>, _> = sqlx::query_as(
        "update sessions set generation = generation + 1, rotated_at = clock_timestamp()
         where session_id = $1 and generation = $2 returning account_id, generation",
    )
    .bind(session)
    .bind(generation)
    .fetch_optional(&mut *floor.db().await)
    .await;
    match moved {
        Ok(Some((account, generation))) => tokens(floor, account, session, generation),
        _ => refused(),
    }
}

fn tokens(floor: &Floor, account: Uuid, session: Uuid, generation: i64) -> Response {
    match floor.token(account, session) {
        Some(access) => Json(json!({ "access": access, "refresh": format!("{session}.{generation}") })).into_response(),
        None => refused(),
    }
}

fn refused() -> Response {
    poem::http::StatusCode::UNAUTHORIZED.into()
}
