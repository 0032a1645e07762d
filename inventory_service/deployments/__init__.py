"""WHAT runs where: releases, run requests, the stage lock, execution, results, convergence."""
