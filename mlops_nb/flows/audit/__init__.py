"""What the record tells: who deployed what, where it came from, how well that goes."""
