"""The concepts of the service and their rules: pure, without I/O, clock or logging."""
