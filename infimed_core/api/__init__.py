"""What plugin authors subclass, and what flows between the parts of a run."""
