"""A run on disk: its record, artifacts, samples and scores."""
