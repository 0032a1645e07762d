"""The edges. Each module is the only importer of its library or user of its program."""
