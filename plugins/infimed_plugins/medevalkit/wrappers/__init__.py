"""Benchmarks made of other benchmarks: the same questions, asked in another way."""
