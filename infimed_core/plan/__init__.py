"""Planning: lengths, sampling, packs and rows, by arithmetic alone."""
