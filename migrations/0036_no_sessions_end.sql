-- no-transaction
drop index concurrently if exists sessions_end;
