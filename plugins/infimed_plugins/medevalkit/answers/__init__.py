"""Reading answers: what is equal first, then statements, then the last commitment about this question."""
