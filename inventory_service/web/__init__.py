"""The HTTP side: JSON under /api/v1, pages for people, both calling the same domain functions."""
