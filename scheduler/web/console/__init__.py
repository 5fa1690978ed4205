"""The convenors' console."""
