"""Variants of one run file, run and compared."""
