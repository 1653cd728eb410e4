"""The domain: pure values and functions on them, from the standard library alone."""
