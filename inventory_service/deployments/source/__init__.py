"""Where playbooks and releases come from: git mirrors, folders, credentials."""
