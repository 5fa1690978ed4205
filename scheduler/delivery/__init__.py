"""From a cohort to a sent message."""
