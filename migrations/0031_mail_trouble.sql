-- Each mail asks whether any destination is in trouble, and only then for its own. Empty while all is well.
create index mail_destinations_in_trouble on mail_destinations (weight) where weight > 0;
