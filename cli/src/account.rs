//! Accounts. Each change is an event by an operator, with a reason.

use std::io::Write;

use anyhow::{anyhow, bail};
use clap::Subcommand;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use doorbook_core::account::Role;
use doorbook_core::password::PasswordPlain;
use doorbook_core::service::admin::{Intervention, OperatorAccount, Order, parse_reason};
use doorbook_core::service::{Context, Doorbook, Refusal};
use doorbook_core::token::random;
use doorbook_core::value::{AccountId, Email, Locale};
use uuid::Uuid;

use crate::{Outcome, password, settings};

/// Accounts of one read.
const PAGE: u32 = 100;

#[derive(Subcommand)]
pub enum Command {
    /// Create an account whose address counts as verified
    Create {
        #[arg(value_parser = Email::parse)]
        email: Email,
        /// Give it this role; may be repeated
        #[arg(long, value_parser = role())]
        role: Vec<Role>,
        /// Read the password from standard input instead of making one and printing it once
        #[arg(long)]
        password_stdin: bool,
        /// Language of its mails [default: DEFAULT_LOCALE]
        #[arg(long, value_parser = locale())]
        locale: Option<Locale>,
        #[arg(long, value_parser = reason, default_value = "created at the command line")]
        reason: String,
    },
    /// List all accounts, newest first
    List,
    /// Grant or revoke a role
    #[command(subcommand)]
    Role(RoleCommand),
    /// Refuse its logins and end its sessions
    Disable(Target),
    /// Allow its logins again
    Enable(Target),
    /// Lift the lock of too many failed logins, and blocks that time would lift
    Unlock(Target),
    /// End all its sessions, refuse its password and mail its owner a link to set another
    ForceReset(Target),
    /// End all its sessions
    RevokeSessions(Target),
    /// Delete its key and all that is about its person, at once and for good, and print a signed receipt
    Erase(Target),
}

#[derive(Subcommand)]
pub enum RoleCommand {
    /// Give an account a role
    Grant(RoleTarget),
    /// Take a role from an account
    Revoke(RoleTarget),
}

#[derive(clap::Args)]
pub struct Target {
    #[arg(value_parser = Email::parse)]
    email: Email,
    /// Stands in the event: why this is done
    #[arg(long, value_parser = reason)]
    reason: String,
}

#[derive(clap::Args)]
pub struct RoleTarget {
    #[command(flatten)]
    target: Target,
    #[arg(value_parser = role())]
    role: Role,
}

pub fn role() -> impl TypedValueParser<Value = Role> {
    PossibleValuesParser::new([Role::Admin, Role::Auditor].map(Role::as_str))
        .try_map(|name| Role::parse(&name).ok_or("no such role"))
}

pub fn locale() -> impl TypedValueParser<Value = Locale> {
    PossibleValuesParser::new([Locale::En, Locale::Es].map(Locale::as_str))
        .try_map(|name| Locale::parse(&name).ok_or("no such language"))
}

pub fn reason(text: &str) -> Result<String, String> {
    parse_reason(text).map_err(|fault| fault.message)
}

pub async fn run(command: Command, out: &mut impl Write) -> anyhow::Result<Outcome> {
    let (what, target) = match command {
        Command::Create { email, role, password_stdin, locale, reason } => {
            return create(NewAccount { email, roles: role, password_stdin, locale, reason }, out).await;
        }
        Command::List => return list(out).await,
        Command::Role(RoleCommand::Grant(RoleTarget { role, target })) => (Intervention::GrantRole(role), target),
        Command::Role(RoleCommand::Revoke(RoleTarget { role, target })) => (Intervention::RevokeRole(role), target),
        Command::Disable(target) => (Intervention::Disable, target),
        Command::Enable(target) => (Intervention::Enable, target),
        Command::Unlock(target) => (Intervention::Unlock, target),
        Command::ForceReset(target) => (Intervention::ForceReset, target),
        Command::RevokeSessions(target) => (Intervention::RevokeSessions, target),
        Command::Erase(target) => (Intervention::Erase, target),
    };
    change(&target.email, &Order::new(what, target.reason), out).await
}

struct NewAccount {
    email: Email,
    roles: Vec<Role>,
    password_stdin: bool,
    locale: Option<Locale>,
    reason: String,
}

async fn create(new: NewAccount, out: &mut impl Write) -> anyhow::Result<Outcome> {
    // Read before anything is opened: whoever pipes it in need not wait for the database.
    let text = if new.password_stdin { password::from_stdin()? } else { password::generate() };
    let doorbook = settings::doorbook().await?;
    let account = OperatorAccount {
        email: new.email,
        password: PasswordPlain::parse(text.to_string())?,
        roles: new.roles,
        locale: new.locale.unwrap_or(doorbook.policy.default_locale),
        reason: new.reason,
    };
    let id = doorbook.create_account(&account, &operator()).await.map_err(explain)?;
    writeln!(out, "account {id}")?;
    if !new.password_stdin {
        writeln!(out, "password {} (shown this once)", text.as_str())?;
    }
    Ok(Outcome::Done)
}

async fn list(out: &mut impl Write) -> anyhow::Result<Outcome> {
    let doorbook = settings::doorbook().await?;
    let mut before = None;
    loop {
        let page = doorbook.list_accounts(before, PAGE).await.map_err(explain)?;
        for account in &page {
            let roles: Vec<&str> = account.roles.iter().map(|role| role.as_str()).collect();
            let verified = if account.email_verified { "verified" } else { "unverified" };
            let created = account.created_at.map_or_else(String::new, |at| at.to_millisecond().rfc3339());
            let roles = if roles.is_empty() { "-".to_owned() } else { roles.join(",") };
            writeln!(
                out,
                "{}  {created}  {:<8}  {verified:<10}  {roles:<13}  {}",
                account.id,
                account.status.as_str(),
                account.email.as_deref().unwrap_or("(erased)")
            )?;
        }
        match page.last() {
            Some(last) => before = Some(last.id),
            None => return Ok(Outcome::Done),
        }
    }
}

async fn change(email: &Email, order: &Order, out: &mut impl Write) -> anyhow::Result<Outcome> {
    let doorbook = settings::doorbook().await?;
    let account = find(&doorbook, email).await?;
    let changed = doorbook.command_account(account, order, &operator()).await.map_err(explain)?;
    writeln!(out, "account {account}: {}", if changed { "done" } else { "it is so already" })?;
    if order.what == Intervention::Erase {
        write!(out, "{}", doorbook.erasure_receipt(account).await.map_err(explain)?.note)?;
    }
    Ok(Outcome::Done)
}

async fn find(doorbook: &Doorbook, email: &Email) -> anyhow::Result<AccountId> {
    match doorbook.find_account(email).await.map_err(explain)? {
        Some(account) => Ok(account),
        None => bail!("no account has the address {}", email.as_str()),
    }
}

pub fn operator() -> Context {
    Context::operator(Uuid::from_bytes(random()))
}

/// What the operator is told; the API keeps most of it to itself.
fn explain(refusal: Refusal) -> anyhow::Error {
    match refusal {
        Refusal::Invalid(faults) => {
            let lines: Vec<String> = faults.iter().map(|fault| format!("{}: {}", fault.field, fault.message)).collect();
            anyhow!(lines.join("\n"))
        }
        Refusal::LastAdmin => anyhow!("no other active admin would be left: give somebody else the role first"),
        Refusal::EmailTaken => anyhow!("the address belongs to an account, or is reserved for one"),
        other => anyhow::Error::new(other).context("the account is unchanged"),
    }
}
