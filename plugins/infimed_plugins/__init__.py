"""The built-in plugins, announced by entry points exactly as a third party's would be."""
