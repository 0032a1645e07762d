"""The liveness simulator: machines, a bad network and a failing service around the real registry, in virtual time."""
