"""Stand-ins for the systems behind mlops-nb, to rehearse on a laptop and to test against."""
