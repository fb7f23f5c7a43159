-- no-transaction
create index concurrently if not exists sessions_account on sessions (account_id);
