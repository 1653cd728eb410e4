"""The verbs about what a cluster runs; they share how it is looked at."""
