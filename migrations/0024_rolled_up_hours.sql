-- What the events of an hour stand for beyond themselves: attempts that were rolled up.
alter table event_hours add column rolled_up bigint not null default 0 check (rolled_up >= 0);
