-- no-transaction
create index concurrently if not exists tokens_by_end on tokens (expires_at) where state || '' = 'open';
