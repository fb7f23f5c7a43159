-- A view that is made anew is not to be counted anew: events up to here are in event_hours, behind `position` or ahead of it.
alter table followers add column counted bigint not null default 0 check (counted >= 0);
