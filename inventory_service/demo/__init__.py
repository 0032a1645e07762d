"""A try-out on one machine: real SSH servers on loopback addresses stand in for hosts."""
