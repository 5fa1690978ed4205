"""The browser's door: translates, never decides."""
