"""What a run is and was: its status, snapshot, results, log, secrets, and how long they are kept."""
