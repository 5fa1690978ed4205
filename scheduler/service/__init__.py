"""What the program does: a module for each subject."""
