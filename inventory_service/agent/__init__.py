"""The agent that runs on hosts: one file without dependencies, which the service serves at `/agent`."""
