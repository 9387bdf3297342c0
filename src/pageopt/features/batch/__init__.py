"""From checked logs to prepared data: labels, counters, splits and the pages of each, in Ibis."""
