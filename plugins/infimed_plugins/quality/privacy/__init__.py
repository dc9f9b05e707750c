"""Privacy: identity in headers and pixels, and copies of data without it."""
