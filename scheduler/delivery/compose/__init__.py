"""From a cohort to finished messages."""
