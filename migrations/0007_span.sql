-- The span of the request that asked for a job, beside its trace: the job's own span goes below it. 64 bits as they are; null when no
-- request asked, or one that an earlier release answered.
alter table jobs add column span_id bigint;
