"""Answers that are places in an image: boxes and points, read in several conventions and measured."""
