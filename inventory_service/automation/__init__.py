"""What happens by itself: runs that a push or a clock starts, and word of what happened that goes out."""
