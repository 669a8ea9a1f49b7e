"""Fields read ahead of their use, in an order that is known from the start."""
