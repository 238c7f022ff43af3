"""Which model, with how much data: a grid of trainings, their statistics, and what may be said of them."""
