"""WHO may do what: users, API tokens, roles."""
