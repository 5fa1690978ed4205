"""What is: pure, no I/O, no clock, no logging."""
