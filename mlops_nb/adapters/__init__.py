"""Adapters: the only home of vendor SDKs; none knows another."""
