"""The models of a run: opened, asked, cached, shared among ranks."""
