"""Curation: samples read, filtered, scored and selected."""
