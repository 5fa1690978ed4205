"""From claimed deliveries to sent messages."""
