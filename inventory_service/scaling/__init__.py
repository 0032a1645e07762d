"""HOW MANY machines: metric windows, policies, the plan, and what carries it out."""
