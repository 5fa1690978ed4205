"""The one place that builds and wires: settings are read here, and `serve` is assembled here."""
