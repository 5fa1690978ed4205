"""Benchmarks: this project and a yardstick, side by side in one run."""
