"""From checked logs to tensors: sessions, attribution, slot bias, counters, sampling, split, encoder."""
