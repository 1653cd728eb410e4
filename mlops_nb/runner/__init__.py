"""The process that executors start: runs one notebook and the steps after it."""
