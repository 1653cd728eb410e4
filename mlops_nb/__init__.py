"""From a Jupyter notebook to production traffic."""
