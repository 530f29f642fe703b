"""The parts of a user's state; each file is one feature: its state, its fold, its values."""
