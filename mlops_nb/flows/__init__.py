"""Flows: one verb, one module, one function; domain and ports only."""
