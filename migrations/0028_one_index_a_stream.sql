-- Each partition has an index of the same columns already: that of its constraint, one version of a stream once. This one found nothing
-- that the other does not, and took some 45 bytes an event.

drop index events_stream;
