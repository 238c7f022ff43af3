"""Data sets: where pictures come from, which are used, in which order, and how they are changed."""
