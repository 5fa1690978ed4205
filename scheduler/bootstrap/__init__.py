"""The composition root: read the settings, and assemble the service from the other packages."""
