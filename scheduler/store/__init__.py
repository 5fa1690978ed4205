"""The database: its tables, and every SQL statement on them."""
