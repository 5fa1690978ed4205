"""Benchmarks that compare this project with other software in the same run."""
