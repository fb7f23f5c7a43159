use crate::clock::Timestamp;
use crate::store::write::{Expect, Write};
use crate::token::keys::Use;
use crate::value::{AccountId, TokenId};

/// Kinds of mailed tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenKind {
    Reset,
    Verify,
    Change,
    Undo,
    Cancel,
    NotMe,
}

impl TokenKind {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Reset => "reset",
            Self::Verify => "verify",
            Self::Change => "change",
            Self::Undo => "undo",
            Self::Cancel => "cancel",
            Self::NotMe => "not_me",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        let all = [Self::Reset, Self::Verify, Self::Change, Self::Undo, Self::Cancel, Self::NotMe];
        all.into_iter().find(|kind| kind.as_str() == text)
    }

    pub const fn purpose(self) -> Use {
        match self {
            Self::Reset => Use::Reset,
            Self::Verify => Use::Verify,
            Self::Change => Use::Change,
            Self::Undo => Use::Undo,
            Self::Cancel => Use::Cancel,
            Self::NotMe => Use::NotMe,
        }
    }
}

pub struct NewToken<'a> {
    pub id: TokenId,
    pub account: AccountId,
    pub kind: TokenKind,
    pub key_id: &'a str,
    pub salt: [u8; 16],
    /// Sealed: the address a change is about, or the one that a notice went to.
    pub detail: Option<Vec<u8>>,
    pub created_at: Timestamp,
    pub expires_at: Timestamp,
}

impl Write {
    /// Opens a token. A newer one voids what is still open of its kind, but for two: each change can be undone, each notice answered.
    pub fn open_token(&mut self, token: NewToken<'_>) {
        if !matches!(token.kind, TokenKind::Undo | TokenKind::NotMe) {
            self.void_tokens(token.account, &[token.kind], token.created_at);
        }
        let binds = [
            self.bind(token.id.0),
            self.bind(token.account.0),
            self.bind(token.kind.as_str()),
            self.bind(token.key_id.to_owned()),
            self.bind(token.salt.to_vec()),
            self.bind(token.detail),
            self.bind(token.created_at),
            self.bind(token.expires_at),
        ];
        self.step(
            "open_token",
            Expect::Rows(1),
            format!(
                "insert into tokens (token_id, account_id, kind, key_id, salt, detail, created_at, expires_at, state)
                 values ({}, 'open') returning 1",
                binds.join(", ")
            ),
        );
    }

    /// Makes what is open of these kinds worthless.
    pub fn void_tokens(&mut self, account: AccountId, kinds: &[TokenKind], at: Timestamp) {
        let kinds: Vec<String> = kinds.iter().map(|kind| kind.as_str().to_owned()).collect();
        let (account, kinds, at) = (self.bind(account.0), self.bind(kinds), self.bind(at));
        self.step(
            "void_tokens",
            Expect::Any,
            format!(
                "update tokens set state = 'void', closed_at = {at}
                 where account_id = {account} and kind = any({kinds}) and state = 'open' returning 1"
            ),
        );
    }

    /// The same, but for one token that is spent in the same statement: a row must not be written twice in it.
    pub fn void_tokens_but(&mut self, account: AccountId, kinds: &[TokenKind], spared: TokenId, at: Timestamp) {
        let kinds: Vec<String> = kinds.iter().map(|kind| kind.as_str().to_owned()).collect();
        let (account, kinds, at, spared) = (self.bind(account.0), self.bind(kinds), self.bind(at), self.bind(spared.0));
        self.step(
            "void_tokens",
            Expect::Any,
            format!(
                "update tokens set state = 'void', closed_at = {at}
                 where account_id = {account} and kind = any({kinds}) and state = 'open' and token_id <> {spared} returning 1"
            ),
        );
    }

    /// Makes open tokens of a kind worthless that are younger than this one.
    pub fn void_younger_tokens(&mut self, account: AccountId, kind: TokenKind, than: TokenId, at: Timestamp) {
        let (account, kind, at, than) =
            (self.bind(account.0), self.bind(kind.as_str()), self.bind(at), self.bind(than.0));
        self.step(
            "void_tokens",
            Expect::Any,
            format!(
                "update tokens set state = 'void', closed_at = {at}
                 where account_id = {account} and kind = {kind} and state = 'open' and token_id > {than} returning 1"
            ),
        );
    }

    /// Guard: spends a token that is open and not past its time; conflict when somebody was faster.
    pub fn use_token(&mut self, token: TokenId, now: Timestamp) {
        let (token, now) = (self.bind(token.0), self.bind(now));
        self.guard(
            "use_token",
            &format!(
                "update tokens set state = 'used', closed_at = {now}
                 where token_id = {token} and '' || state = 'open' and expires_at > {now} and {{after}} returning 1"
            ),
        );
    }

    /// Guard: closes a token whose time has run out.
    pub fn expire_token(&mut self, token: TokenId, now: Timestamp) {
        let (token, now) = (self.bind(token.0), self.bind(now));
        self.guard(
            "expire_token",
            &format!(
                "update tokens set state = 'expired', closed_at = {now}
                 where token_id = {token} and '' || state = 'open' and expires_at <= {now} and {{after}} returning 1"
            ),
        );
    }
}
