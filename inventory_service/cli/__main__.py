"""`python -m inventory_service.cli`."""

from inventory_service.cli import main

main(prog_name="callboard")
