"""All deliveries: how they come to be, are claimed and settled, and what became of them."""
