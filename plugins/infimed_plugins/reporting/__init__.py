"""Reporting: the page, the terminal summary, comparisons, sweeps and the local server."""
