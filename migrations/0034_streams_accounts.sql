-- no-transaction
create index concurrently if not exists streams_accounts on streams (stream_id) where kind = 'account';
