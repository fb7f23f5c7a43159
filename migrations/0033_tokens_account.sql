-- no-transaction
create index concurrently if not exists tokens_account on tokens (account_id);
