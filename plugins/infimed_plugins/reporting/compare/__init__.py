"""Models of finished runs, compared."""
