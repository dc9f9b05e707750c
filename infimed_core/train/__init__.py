"""Training: stages planned, trained and validated."""
