"""Why things are as they are: one enumeration for each state. Each member's comment lists its parameters."""
