"""What a playbook asks: its prompts, where they stand, and the answers."""
