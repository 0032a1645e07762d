"""What runs in the background and when: execute a run, sweep, dispatch, converge, recover."""
