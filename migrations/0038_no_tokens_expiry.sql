-- no-transaction
drop index concurrently if exists tokens_expiry;
