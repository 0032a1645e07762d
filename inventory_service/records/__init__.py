"""The only writers of hosts, stages and runs: one module for each table, one function for each thing that happens.

Each writes the row, its history and the event in one transaction. What is to happen is decided above.
"""
