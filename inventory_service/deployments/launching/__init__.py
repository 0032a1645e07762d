"""From what somebody asks for to a queued run: checks, limits, repeats, and the order of the queue."""
