-- no-transaction
create index concurrently if not exists sessions_by_end on sessions (absolute_end) where num_nulls(revoked_at) = 1;
