-- no-transaction
create index concurrently if not exists deliveries_unsent on deliveries (state, delivery_id) where state <> 'sent';
