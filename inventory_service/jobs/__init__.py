"""What runs in the background and when: start and execute runs, sweep, converge, recover."""
