"""The run file: YAML in, a checked plan out."""
