"""What is kept: tables and the statements on them."""
