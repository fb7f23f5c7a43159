-- no-transaction
create index concurrently if not exists deliveries_template on deliveries (template, delivery_id);
