"""The HTTP face: what JupyterLab's panel asks."""
