-- Which sessions have not been used for too long is asked every 15 s; without this, by a look at every live one. Empty where none can end so.
create index sessions_idle on sessions (idle_end) where revoked_at is null and idle_end is not null;
